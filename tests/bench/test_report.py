"""Results become tables, plots and a page that tell the truth, misses included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import fields, replace

from bench.load.report import (
    AnyReport,
    ChatReport,
    ConnectsReport,
    IdleReport,
    Latency,
    Usage,
)
from bench.page import fill
from bench.plan import MEASURES, length, plan
from bench.results import Figure, Machine, Omission, Results, Run, load
from bench.tables import NOT_MEASURED, blocks
from bench.targets import Target, targets

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
SERVERS = {"parley": "Parley", "nestjs": "NestJS"}
MACHINE = Machine(
    cpu="A processor",
    cores=2,
    memory_bytes=8 * 2**30,
    system="Linux 6",
    file_system="ext4",
    versions={"Python": "3.11.7", "PostgreSQL": "18.6"},
)


def chat(
    *,
    per_second: float = 300.0,
    cpu: float = 40.0,
    p99: float = 5.0,
    sent: int = 1200,
    lost: int = 0,
) -> ChatReport:
    """Four seconds of messages."""
    return ChatReport(
        connections=100,
        errors=0,
        problems={},
        usage={"server": Usage(cpu, 10.0, 50.0), "postgres": Usage(20.5, 4.0, 25.0)},
        memory_bytes={"server": 50_000_000},
        seconds=4.0,
        sent=sent,
        sent_in_all=sent + 300,
        delivered=round(4 * per_second),
        delivered_per_s=per_second,
        acknowledged=0,
        latency=Latency(1.5, p99, 9.0),
        lost=lost,
        late=0,
        duplicated=0,
        reordered=0,
        unacknowledged=0,
    )


def connects(cpu: float) -> ConnectsReport:
    return ConnectsReport(
        connections=2000,
        errors=0,
        problems={},
        usage={"server": Usage(cpu, 100.0, 90.0)},
        memory_bytes={"server": 80_000_000},
        transport="websocket",
        seconds=4.0,
        connects_per_s=500.0,
        latency=Latency(1.5, 5.0, 9.0),
    )


def idle(memory: int) -> IdleReport:
    return IdleReport(
        connections=10_000,
        errors=0,
        problems={},
        usage={"server": Usage(500.0, 100.0, 90.0)},
        memory_bytes={"server": 80_000_000},
        seconds=9.0,
        connects_per_s=1100.0,
        memory_before_bytes={"server": 40_000_000},
        memory_per_connection_bytes={"server": memory},
        idle_cpu_percent={"server": 0.4},
    )


def results(
    *measured: tuple[str, str, Sequence[AnyReport]],
    omissions: Sequence[Omission] = (),
    commit: str = "0123456789ab",
) -> Results:
    """Of each measure and server, one report for each round."""
    return Results(
        date="2026-01-02T03:04:05+00:00",
        commit=commit,
        command="python -m bench",
        machine=MACHINE,
        servers=SERVERS,
        runs=[
            Run(measure, server, number, report)
            for measure, server, reports in measured
            for number, report in enumerate(reports, 1)
        ],
        omissions=list(omissions),
    )


def target(found: Results, what: str) -> Target:
    (one,) = [each for each in targets(found) if each.what == what]
    return one


def test_what_is_saved_can_be_loaded(tmp_path: Path) -> None:
    saved = results(
        ("saturation", "parley", [chat(), chat(lost=2)]),
        ("idle-10000", "parley", [idle(3500)]),
        omissions=[Omission("saturation", "nestjs", "npm is not here")],
    )
    saved.save(tmp_path / "results.json")
    assert load(tmp_path / "results.json") == saved


def test_a_table_holds_medians_and_their_spread() -> None:
    rounds = [
        chat(per_second=20_000, cpu=31.0, p99=7.0),
        chat(per_second=24_000, cpu=30.0, p99=9.0),
        chat(per_second=21_000, cpu=35.0, p99=8.0),
    ]
    table = blocks(results(("saturation", "parley", rounds)))["saturation"]
    assert table.splitlines()[2] == (
        "| Parley | 3 | 21,000 (20,000–24,000) | 31.0 (30.0–35.0) | 20.5 | – | 1.50 | 8.00 |"
    )


def test_servers_stand_in_the_order_of_the_catalogue() -> None:
    found = results(("receipts", "nestjs", [chat()]), ("receipts", "parley", [chat()]))
    rows = blocks(found)["receipts"].splitlines()[2:]
    assert [row.split(" | ")[0] for row in rows] == ["| Parley", "| NestJS"]


def test_a_server_that_cannot_keep_up_has_no_figures_but_what_it_delivered() -> None:
    behind = replace(chat(per_second=150, cpu=6500.0, p99=2500.0), undelivered=1234)
    found = results(("rate-300", "parley", [chat()]), ("rate-300", "nestjs", [behind, behind]))
    ours, theirs = blocks(found)["rates"].splitlines()[2:4]
    assert ours == (
        "| 300 messages/s | Parley | 1 of 1 rounds | 40.0 | 20.5 | – | 1.50 | 5.00 | 9.00 |"
    )
    assert theirs == (
        "| 300 messages/s | NestJS | 0 of 2 rounds; else 150/s, up to 1,234 undelivered "
        "| – | – | – | – | – | – |"
    )
    assert "at least 97% of what is sent" in blocks(found)["rates"]


def test_rounds_in_which_a_server_kept_up_are_counted_and_told_alone() -> None:
    behind = chat(per_second=150, cpu=6500.0, p99=2500.0)
    found = results(("rate-300", "nestjs", [chat(p99=4.0), behind, chat(p99=6.0)]))
    row = blocks(found)["rates"].splitlines()[2]
    assert row == (
        "| 300 messages/s | NestJS | 2 of 3 rounds; else 150/s "
        "| 40.0 | 20.5 | – | 1.50 | 5.00 | 9.00 |"
    )


@pytest.mark.parametrize(
    ("throughput", "met"), [(6000.0, True), (5999.0, False)], ids=["just reached", "just missed"]
)
def test_a_miss_is_not_hidden(throughput: float, met: bool) -> None:
    found = results(
        ("saturation", "parley", [chat(per_second=throughput)]),
        ("saturation", "nestjs", [chat(per_second=300)]),
    )
    assert target(found, "messages/s, against NestJS").met is met
    assert ("**not met**" in blocks(found)["targets"].splitlines()[2]) is not met


def test_a_ratio_is_of_the_servers_in_the_same_round() -> None:
    # The ratio of the medians would be 25.
    found = results(
        ("saturation", "parley", [chat(per_second=rate) for rate in (6000, 2000, 4000)]),
        ("saturation", "nestjs", [chat(per_second=rate) for rate in (300, 100, 160)]),
    )
    one = target(found, "messages/s, against NestJS")
    assert one.measured == Figure(20.0, 20.0, 25.0, rounds=3)
    row = blocks(found)["targets"].splitlines()[2]
    assert row == "| messages/s, against NestJS | ≥ 20× | 20.0× (20.0–25.0) | 3 | met |"


def test_a_round_of_one_server_alone_is_in_no_ratio() -> None:
    found = results(
        ("saturation", "parley", [chat(per_second=6000), chat(per_second=9000)]),
        ("saturation", "nestjs", [chat(per_second=300)]),
    )
    assert target(found, "messages/s, against NestJS").measured == Figure(20.0, 20.0, 20.0, 1)


def test_a_round_in_which_one_of_them_could_not_keep_up_is_in_no_ratio() -> None:
    behind = chat(per_second=150, cpu=6500.0, p99=2500.0)
    found = results(
        ("rate-300", "parley", [chat(cpu=40.0), chat(cpu=40.0)]),
        ("rate-300", "nestjs", [chat(cpu=160.0, p99=10.0), behind]),
    )
    cpu = target(found, "CPU per message at 300/s, less than NestJS")
    p99 = target(found, "p99 at 300/s, as a part of NestJS's")
    assert cpu.measured == Figure(4.0, 4.0, 4.0, 1)
    assert p99.measured == Figure(0.5, 0.5, 0.5, 1)


def test_connecting_is_judged_by_opening_and_closing_stands_beside_it() -> None:
    found = results(
        ("idle-10000", "parley", [idle(3500)] * 3),
        ("connects-websocket", "parley", [connects(580.0), connects(601.0), connects(613.0)]),
    )
    one = target(found, "CPU per WebSocket connect, opening 10,000")
    assert one.measured == Figure(500.0, 500.0, 500.0, 3)
    assert "takes 601 (580–613) µs, in 3 rounds." in blocks(found)["targets"]
    assert blocks(found)["connects"].splitlines()[2:] == [
        "| WebSocket, opened and closed | Parley | 3 | 500 | 601 (580–613) | – | – |",
        "| WebSocket, opened and held | Parley | 3 | 1,100 | 500 | – | – |",
    ]


def test_a_limit_is_missed_by_what_reaches_it() -> None:
    what = "memory per idle connection, of 10,000"
    assert target(results(("idle-10000", "parley", [idle(3999)])), what).met is True
    assert target(results(("idle-10000", "parley", [idle(4000)])), what).met is False


def test_a_ratio_without_a_peer_is_not_measured() -> None:
    found = results(("saturation", "parley", [chat(per_second=24_000)]))
    one = target(found, "messages/s, against NestJS")
    assert (one.measured, one.met) == (None, None)
    assert blocks(found)["targets"].splitlines()[2].endswith("| – | – | not measured |")


def test_flaws_of_a_server_are_added_up_for_each_measure() -> None:
    flawed = replace(chat(lost=1200), reordered=5)
    found = results(
        ("receipts", "nestjs", [chat(), flawed, replace(chat(), reordered=2)]),
        ("rate-300", "nestjs", [replace(chat(), undelivered=99)]),
    )
    (row,) = blocks(found)["flaws"].splitlines()[2:]
    happened = "1,200 lost (in 1 of 3 rounds), 7 reordered (in 2 of 3 rounds)"
    assert row == f"| with receipts | NestJS | {happened} |"
    assert blocks(results(("receipts", "nestjs", [chat()])))["flaws"].startswith("None")


def test_whatever_spoils_a_run_is_named() -> None:
    """A figure that makes a report flawed is in the table of flaws."""
    flawed = set()
    for field in fields(ChatReport):
        if field.type is not int:
            continue
        report = replace(chat(), **{field.name: 7777})
        if not report.flawless:
            flawed.add(field.name)
            assert "7,777" in blocks(results(("receipts", "nestjs", [report])))["flaws"]
    assert flawed == {"errors", "lost", "late", "duplicated", "reordered", "unacknowledged"}


def test_errors_are_told_by_their_kinds_and_none_is_left_out() -> None:
    report = replace(chat(), errors=10, problems={"disconnected": 7})
    assert report.flaws == {"disconnected": 7, "other errors": 3}


def test_changes_that_were_not_committed_are_told() -> None:
    assert "| commit | `0123456789ab` |" in blocks(results())["machine"]
    changed = blocks(results(commit="0123456789ab+"))["machine"]
    assert "| commit | `0123456789ab`, with changes that are in no commit |" in changed


def test_what_the_host_withheld_is_told() -> None:
    found = results(("saturation", "parley", [chat()] * 3))
    assert "host" not in blocks(found)["machine"]
    found.runs[:] = [
        replace(run, withheld=withheld)
        for run, withheld in zip(found.runs, (0.02, 0.35, 0.1), strict=True)
    ]
    assert (
        "| withheld by its host | 10% of the processors' time in the median run, 35% in the worst; "
        "more than 10% in 1 of 3 runs |"
    ) in blocks(found)["machine"]


def test_what_is_left_out_is_named_once_with_its_reason() -> None:
    omissions = [
        Omission("saturation", "nestjs", "npm is not here"),
        Omission("receipts", "nestjs", "npm is not here"),
    ]
    table = blocks(results(omissions=omissions))["left-out"]
    assert table.splitlines()[2:] == ["| NestJS | saturation, receipts | npm is not here |"]


def test_nothing_measured_is_no_empty_table() -> None:
    assert blocks(results())["growth"] == NOT_MEASURED


def test_the_page_has_a_place_for_every_block_and_keeps_its_prose() -> None:
    page = PAGE.read_text()
    once = fill(page, blocks(results(("growth", "parley", [chat(per_second=777)]))))
    again = fill(once, blocks(results(("growth", "parley", [chat(per_second=888)]))))
    assert "| 777 |" in once
    assert "| 777 |" not in again
    assert again == once.replace("| 777 |", "| 888 |")
    nothing = dict.fromkeys(blocks(results()), "")
    assert fill(again, nothing) == fill(page, nothing)


def test_a_page_without_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="two"):
        fill("<!-- bench:one -->\n<!-- /bench:one -->", {"one": "", "two": ""})


def test_every_plan_names_only_what_is_wanted() -> None:
    turns = list(plan([MEASURES["saturation"], MEASURES["workers"]], ["nestjs"], ["mine"], 3))
    assert [(turn.measure.name, turn.servers, turn.rounds) for turn in turns] == [
        ("saturation", ("nestjs",), 3)
    ]


def test_who_takes_the_name_of_a_peer_takes_its_turns() -> None:
    (turn,) = plan([MEASURES["saturation"]], [], ["nestjs"], 3)
    assert turn.servers.count("nestjs") == 1


def test_each_measure_has_its_rounds_unless_others_are_wished() -> None:
    measures = [MEASURES[name] for name in ("saturation", "idle-10000", "idle-50000")]
    assert [turn.rounds for turn in plan(measures, [], ["mine"], None)] == [5, 3, 1]
    assert [turn.rounds for turn in plan(measures, [], ["mine"], 2)] == [2, 2, 2]
    assert all(turn.servers[-1] == "mine" for turn in plan(measures, [], ["mine"], None))


def test_a_whole_run_takes_half_an_hour_or_a_little_more() -> None:
    turns = list(plan(list(MEASURES.values()), [], [], None))
    assert 25 * 60 < length(turns, 4.0) < 37 * 60
    assert length(turns, 8.0) > length(turns, 4.0)


def test_plots_are_the_same_for_the_same_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="make bench installs it")
    from bench.plots import draw  # noqa: PLC0415 - it can't be imported without

    found = results(
        ("saturation", "parley", [chat(per_second=24_000)]),
        ("saturation", "nestjs", [chat(per_second=1200, cpu=800.0)]),
        ("idle-10000", "parley", [idle(3500)]),
    )
    (tmp_path / "again").mkdir()
    files = draw(found, tmp_path)
    assert [file.name for file in files] == ["throughput.svg", "cpu.svg", "memory.svg"]
    for first, second in zip(files, draw(found, tmp_path / "again"), strict=True):
        assert first.read_bytes() == second.read_bytes()
