"""Servers are started, measured and ended; those that can't run here say why."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

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
    runner.run([Turn(MEASURE, ("failing", "transport"), 2)])

    assert [(run.server, run.round) for run in runner.runs] == [("transport", 1), ("transport", 2)]
    for run in runner.runs:
        assert isinstance(run.report, ChatReport)
        assert run.report.flawless
        assert run.report.delivered > 0
    (omission,) = runner.omissions
    assert omission.server == "failing"
    assert omission.reason == "it ended with status 1: it lacks something"
    assert any("left out: failing" in line for line in told)


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
