"""Results as Markdown tables, one or several to each block of the page."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bench.load.report import KEPT_UP, ChatReport, ConnectsReport, IdleReport, Report
from bench.plan import MEASURES
from bench.results import DISTURBED, Figure, Results, cpu, figure
from bench.targets import Target, targets

NOT_MEASURED: Final = "Not measured."
"""What stands in place of a table without rows."""
_DASH: Final = "–"
_RATES: Final = ("rate-300", "rate-300-receipts", "rate-1000", "rate-4000")
_CONNECTS: Final = {
    "connects-websocket": "WebSocket, opened and closed",
    "connects-upgrade": "upgrade, opened and closed",
    "idle-10000": "WebSocket, opened and held",
}
_IDLE: Final = ("idle-1000", "idle-10000", "idle-50000")
_CPU: Final = ("server, µs", "PostgreSQL, µs", "Redis, µs")
_ABOUT_TARGETS: Final = """\
A ratio is the median of the ratios of single rounds, in each of which both servers had their turn;
in brackets are the lowest and the highest of them."""
_ABOUT_CONNECTS: Final = """\
Connecting is judged by what opening costs, without closing, because that is what comes all at once:
when a server starts again, all of its clients return, and none leaves."""
_ABOUT_RATES: Final = f"""\
A server keeps up in a round if it delivers at least {KEPT_UP:.0%} of what is sent while it is sent.
All figures but the first are of those rounds alone: in the others a queue grows, so that latency
tells how long the round was, and CPU time for what comes in is divided by the little that goes out.
Of these others the first column tells what was delivered per second, and what was still undelivered
when nothing had come for some seconds, or half a minute after the last message was sent."""


def blocks(results: Results) -> dict[str, str]:
    """Every block of the page by its name."""
    return {
        "targets": _targets(results),
        "saturation": _saturation(results, "saturation"),
        "receipts": _saturation(results, "receipts"),
        "acknowledgements": _saturation(results, "acknowledgements"),
        "rates": _rates(results),
        "connects": _connects(results),
        "idle": _idle(results),
        "workers": _saturation(results, "workers"),
        "stores": _saturation(results, "stores"),
        "growth": _saturation(results, "growth"),
        "flaws": _flaws(results),
        "left-out": _left_out(results),
        "machine": _machine(results),
    }


def _targets(results: Results) -> str:
    rows = [
        (
            target.what,
            f"{target.relation} {_with_unit(f'{target.limit:,g}', target.unit)}",
            *_measured(target),
            {True: "met", False: "**not met**", None: "not measured"}[target.met],
        )
        for target in targets(results)
    ]
    table = _table(("", "wanted", "measured", "rounds", ""), rows)
    return _with_notes(table, _ABOUT_TARGETS, _ABOUT_CONNECTS + _closing_too(results))


def _measured(target: Target) -> tuple[str, str]:
    """The figure, and of how many rounds it is."""
    if target.measured is None:
        return _DASH, _DASH
    median = _with_unit(_number(target.measured.median), target.unit)
    return f"{median}{_range(target.measured)}", str(target.measured.rounds)


def _closing_too(results: Results) -> str:
    """The figure beside the one that is judged, as a sentence."""
    reports = results.reports("connects-websocket", "parley", ConnectsReport)
    if (found := figure(reports, cpu("server"))) is None:
        return ""
    rounds = "1 round" if found.rounds == 1 else f"{found.rounds} rounds"
    return f" Opened and closed again, a connection takes {_spread(found)} µs, in {rounds}."


def _with_unit(number: str, unit: str) -> str:
    return f"{number}{'' if unit == '×' else ' '}{unit}"


def _saturation(results: Results, measure: str) -> str:
    """Closed loop: how many messages, and at what cost."""
    rows = []
    for name in results.measured(measure):
        reports = results.reports(measure, name, ChatReport)
        rows.append(
            (
                results.servers[name],
                str(len(reports)),
                _spread(figure(reports, lambda report: report.delivered_per_s)),
                *_costs(reports),
                *_latencies(reports)[:2],
            )
        )
    return _table(("", "rounds", "messages/s", *_CPU, "p50, ms", "p99, ms"), rows)


def _rates(results: Results) -> str:
    """Open loop: what the same messages cost each, and how long they take."""
    rows = []
    for measure in _RATES:
        for name in results.measured(measure):
            reports = results.reports(measure, name, ChatReport)
            steady = [report for report in reports if report.kept_up]
            rows.append(
                (
                    MEASURES[measure].title,
                    results.servers[name],
                    _keeping_up(reports),
                    *_costs(steady),
                    *_latencies(steady),
                )
            )
    header = ("", "", "kept up in", *_CPU, "p50, ms", "p99, ms", "p99.9, ms")
    return _with_notes(_table(header, rows, texts=3), _ABOUT_RATES)


def _keeping_up(reports: Sequence[ChatReport]) -> str:
    """In how many rounds a server did, and how it was in the others."""
    overloaded = [report for report in reports if not report.kept_up]
    kept_up = f"{len(reports) - len(overloaded)} of {len(reports)} rounds"
    if not overloaded:
        return kept_up
    delivered = _spread(figure(overloaded, lambda report: report.delivered_per_s))
    undelivered = max(report.undelivered for report in overloaded)
    left = f", up to {undelivered:,} undelivered" if undelivered else ""
    return f"{kept_up}; else {delivered}/s{left}"


def _connects(results: Results) -> str:
    rows = []
    for measure, title in _CONNECTS.items():
        for name in results.measured(measure):
            reports = [
                report
                for report in results.reports(measure, name, Report)
                if isinstance(report, ConnectsReport | IdleReport)
            ]
            rows.append(
                (
                    title,
                    results.servers[name],
                    str(len(reports)),
                    _spread(figure(reports, lambda report: report.connects_per_s)),
                    *_costs(reports),
                )
            )
    return _table(("", "", "rounds", "connects/s", *_CPU), rows, texts=2)


def _idle(results: Results) -> str:
    rows = []
    for measure in _IDLE:
        for name in results.measured(measure):
            reports = results.reports(measure, name, IdleReport)
            rows.append(
                (
                    f"{MEASURES[measure].connections:,}",
                    results.servers[name],
                    str(len(reports)),
                    *(
                        _spread(figure(reports, value))
                        for value in (_memory_each, _memory_in_all, _idle_cpu)
                    ),
                )
            )
    header = ("connections", "", "rounds", "bytes each", "MB in all", "CPU while idle, % of a core")
    return _table(header, rows, texts=2)


def _memory_each(report: IdleReport) -> float | None:
    return report.memory_per_connection_bytes["server"]


def _memory_in_all(report: IdleReport) -> float | None:
    memory = report.memory_bytes["server"]
    return None if memory is None else memory / 1e6


def _idle_cpu(report: IdleReport) -> float | None:
    return report.idle_cpu_percent["server"]


def _flaws(results: Results) -> str:
    """What a server should not have done."""
    rows = [
        (MEASURES[measure].title, results.servers[server], happened)
        for measure, server in dict.fromkeys((run.measure, run.server) for run in results.runs)
        if (happened := _flaws_of(results.reports(measure, server, Report)))
    ]
    if not rows:
        return "None: no run saw a message lost, repeated or out of order, nor an error."
    return _table(("", "", "what happened, in all rounds together"), rows, texts=3)


def _flaws_of(reports: Sequence[Report]) -> str:
    """Each kind of flaw, how often it was seen, and in how many rounds; empty if none was."""
    counts: dict[str, list[int]] = {}
    for report in reports:
        for what, count in report.flaws.items():
            counts.setdefault(what, []).append(count)
    return ", ".join(
        f"{sum(seen):,} {what} (in {len(seen)} of {len(reports)} rounds)"
        for what, seen in counts.items()
    )


def _left_out(results: Results) -> str:
    """What could not be measured, and why; one row for a server that fails in the same way."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for omission in results.omissions:
        reasons.setdefault((omission.server, omission.reason), []).append(omission.measure)
    if not reasons:
        return "Nothing."
    rows = [
        (results.servers[server], ", ".join(measures), reason)
        for (server, reason), measures in reasons.items()
    ]
    return _table(("", "left out of", "because"), rows, texts=3)


def _machine(results: Results) -> str:
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return _table(
        ("", ""),
        [
            ("processor", f"{machine.cpu}, {machine.cores} cores"),
            ("memory", f"{machine.memory_bytes / 2**30:.0f} GiB"),
            ("system", f"{machine.system}, databases on {machine.file_system or 'a disk'}"),
            *_host(results),
            ("versions", versions),
            ("date", results.date),
            ("commit", _commit(results)),
            ("command", f"`{results.command}`"),
        ],
        texts=2,
    )


def _host(results: Results) -> Iterator[tuple[str, str]]:
    """How much of the machine its host kept for others, if that is known."""
    known = [run.withheld for run in results.runs if run.withheld is not None]
    if known:
        disturbed = sum(withheld > DISTURBED for withheld in known)
        told = (
            f"{statistics.median(known):.0%} of the processors' time in the median run, "
            f"{max(known):.0%} in the worst; more than {DISTURBED:.0%} in {disturbed:,} of "
            f"{len(known):,} runs"
        )
        yield "withheld by its host", told


def _commit(results: Results) -> str:
    commit = f"`{results.commit.removesuffix('+')}`"
    return f"{commit}, with changes that are in no commit" if results.changed else commit


def _costs(reports: Sequence[Report]) -> Iterator[str]:
    """CPU time of the server, with its spread, and of what it uses."""
    yield _spread(figure(reports, cpu("server")))
    for group in ("postgres", "redis"):
        yield _median(figure(reports, cpu(group)))


def _latencies(reports: Sequence[ChatReport]) -> tuple[str, str, str]:
    values: tuple[Callable[[ChatReport], float | None], ...] = (
        lambda report: report.latency.p50_ms,
        lambda report: report.latency.p99_ms,
        lambda report: report.latency.p999_ms,
    )
    p50, p99, p999 = (_median(figure(reports, value)) for value in values)
    return p50, p99, p999


def _median(found: Figure | None) -> str:
    return _number(found.median) if found else _DASH


def _spread(found: Figure | None) -> str:
    """The median and, if there is more than one value, the lowest and the highest."""
    return f"{_number(found.median)}{_range(found)}" if found else _DASH


def _range(found: Figure) -> str:
    """The lowest and the highest, if they aren't the same."""
    if found.low == found.high:
        return ""
    return f" ({_number(found.low)}–{_number(found.high)})"


def _number(value: float) -> str:
    """With three digits that count, but whole from 100 on."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _with_notes(table: str, *notes: str) -> str:
    """A table and what must be known to read it, if it isn't empty."""
    return table if table == NOT_MEASURED else "\n\n".join((table, *notes))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """The first columns, as many as ``texts``, hold text, and the others numbers."""
    if not rows:
        return NOT_MEASURED
    rule = ["---" if column < texts else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
