"""Servers are started, measured and ended; those that can't run here say why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from msgspec.structs import replace

from bench.errors import CannotRun
from bench.load.report import ChatReport
from bench.plan import Measure, Turn
from bench.runner import Runner, generate
from bench.servers import Fleet, Spec, catalogue, fleet
from bench.services import Services
from tests.services.postgres import PostgresServer

MEASURE = Measure(
    name="short", title="a short one", load=("chat", "--pairs", "5", "--warmup", "0.1")
)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Fleet]:
    """Servers that need no database: there is a PostgreSQL, and it isn't started."""
    services = Services(PostgresServer(tmp_path, tmp_path, {}))
    with fleet(services, tmp_path, print) as those:
        yield those


def test_rounds_are_interleaved_and_who_cannot_run_is_left_out(servers: Fleet) -> None:
    failing = Spec(
        name="failing",
        title="Failing",
        command=(sys.executable, "-c", "raise SystemExit('it lacks something')"),
        storage="none",
    )
    again = catalogue()["transport"]
    specs = {"transport": again, "failing": failing}
    told: list[str] = []
    runner = Runner(servers, specs, seconds=0.3, tell=told.append)
    for _ in runner.run([Turn(MEASURE, ("failing", "transport"), 2)]):
        pass

    assert [(run.server, run.round) for run in runner.runs] == [("transport", 1), ("transport", 2)]
    for run in runner.runs:
        assert isinstance(run.report, ChatReport)
        assert run.report.flawless
        assert run.report.delivered > 0
    (omission,) = runner.omissions
    assert omission.server == "failing"
    assert omission.reason == "it ended with status 1: it lacks something"
    assert any("left out: failing" in line for line in told)


def test_what_was_measured_is_there_after_each_run(servers: Fleet) -> None:
    runner = Runner(servers, catalogue(), seconds=0.1, tell=print)
    going = runner.run([Turn(MEASURE, ("transport",), 2)])
    next(going)
    assert [run.round for run in runner.runs] == [1]
    next(going)
    assert [run.round for run in runner.runs] == [1, 2]


def test_a_fresh_run_starts_its_server_but_once(servers: Fleet, tmp_path: Path) -> None:
    script = f'echo >> {tmp_path}/starts; exec "$0" -m bench.instant'
    spec = replace(catalogue()["transport"], command=("sh", "-c", script, sys.executable))
    servers.use([spec])  # what it sets up is there already
    runner = Runner(servers, {"transport": spec}, seconds=0.1, tell=print)
    for _ in runner.run([Turn(replace(MEASURE, fresh=True), ("transport",), 2)]):
        pass
    assert len(runner.runs) == 2
    assert (tmp_path / "starts").read_text() == "\n" * 3


def test_servers_that_are_not_wanted_any_more_are_ended(servers: Fleet) -> None:
    (server,) = servers.use([catalogue()["transport"]]).values()
    pid = server.pids["server"]
    assert psutil.pid_exists(pid)
    assert servers.use([]) == {}
    assert not psutil.pid_exists(pid)


def test_a_program_that_is_missing_is_named(servers: Fleet) -> None:
    spec = Spec(name="x", title="X", command=("true",), programs=("no-such-program",))
    assert servers.use([spec]) == {}
    assert servers.obstacles == {"x": "no-such-program is not here"}


def test_what_the_load_generator_complains_of_is_the_reason() -> None:
    with pytest.raises(CannotRun, match="--url"):
        generate(["chat", "--secret", "x"])
