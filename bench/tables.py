"""Results as Markdown tables, one or several to each block of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from bench.load.report import ChatReport, ConnectsReport, IdleReport, Report
from bench.plan import MEASURES
from bench.results import Figure, Results, cpu, figure, flaws, kept_up
from bench.targets import Target, targets

NOT_MEASURED: Final = "Not measured."
"""What stands in place of a table without rows."""
_DASH: Final = "–"
_RATES: Final = ("rate-300", "rate-300-receipts", "rate-1000", "rate-4000")
_IDLE: Final = ("idle-1000", "idle-10000", "idle-50000")
_CPU: Final = ("server, µs", "PostgreSQL, µs", "Redis, µs")


def blocks(results: Results) -> dict[str, str]:
    """Every block of the page by its name."""
    return {
        "targets": _targets(targets(results)),
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


def _targets(all_of_them: Sequence[Target]) -> str:
    rows = [
        (
            target.what,
            f"{target.relation} {_with_unit(f'{target.limit:,g}', target.unit)}",
            _DASH if target.measured is None else _with_unit(_number(target.measured), target.unit),
            {True: "met", False: "**not met**", None: "not measured"}[target.met],
        )
        for target in all_of_them
    ]
    return _table(("", "wanted", "measured", ""), rows)


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
                _spread(figure(reports, lambda report: report.delivered_per_s)),
                *_costs(reports),
                *_latencies(reports)[:2],
            )
        )
    return _table(("", "messages/s", *_CPU, "p50, ms", "p99, ms"), rows)


def _rates(results: Results) -> str:
    """Open loop: what the same messages cost each, and how long they take."""
    rows = []
    for measure in _RATES:
        for name in results.measured(measure):
            reports = results.reports(measure, name, ChatReport)
            steady = [report for report in reports if kept_up(report)]
            latencies = _latencies(steady)
            if 2 * len(steady) <= len(reports):
                delivered = figure(reports, lambda report: report.delivered_per_s)
                latencies = (f"can't keep up: {_median(delivered)}/s", _DASH, _DASH)
            rows.append(
                (MEASURES[measure].title, results.servers[name], *_costs(reports), *latencies)
            )
    return _table(("", "", *_CPU, "p50, ms", "p99, ms", "p99.9, ms"), rows, texts=2)


def _connects(results: Results) -> str:
    rows = []
    for measure in ("connects-websocket", "connects-upgrade"):
        for name in results.measured(measure):
            reports = results.reports(measure, name, ConnectsReport)
            rows.append(
                (
                    reports[0].transport,
                    results.servers[name],
                    _spread(figure(reports, lambda report: report.connects_per_s)),
                    *_costs(reports),
                )
            )
    return _table(("", "", "connects/s", *_CPU), rows, texts=2)


def _idle(results: Results) -> str:
    rows = []
    for measure in _IDLE:
        for name in results.measured(measure):
            reports = results.reports(measure, name, IdleReport)
            rows.append(
                (
                    f"{MEASURES[measure].connections:,}",
                    results.servers[name],
                    *(
                        _median(figure(reports, value))
                        for value in (_memory_each, _memory_in_all, _idle_cpu)
                    ),
                )
            )
    header = ("connections", "", "bytes each", "MB in all", "CPU while idle, % of a core")
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
        (MEASURES[run.measure].title, results.servers[run.server], flaws(run.report))
        for run in results.runs
        if not run.report.flawless
    ]
    if not rows:
        return "None: no run saw a message lost, repeated or out of order, nor an error."
    return _table(("", "", "what happened"), rows, texts=3)


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
            ("versions", versions),
            ("date", results.date),
            ("commit", f"`{results.commit}`"),
            ("command", f"`{results.command}`"),
        ],
        texts=2,
    )


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
    if found is None or found.low == found.high:
        return _median(found)
    return f"{_number(found.median)} ({_number(found.low)}–{_number(found.high)})"


def _number(value: float) -> str:
    """With three digits that count, but whole from 100 on."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """The first columns, as many as ``texts``, hold text, and the others numbers."""
    if not rows:
        return NOT_MEASURED
    rule = ["---" if column < texts else "---:" for column in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))
