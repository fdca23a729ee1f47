"""Results as plots: SVG files that are the same bytes for the same results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from bench.load.report import ChatReport, IdleReport, Report
from bench.plan import MEASURES
from bench.results import Results, cpu, figure, when_it_kept_up

_OURS, _THEIRS = "#2563eb", "#94a3b8"
_PARTS: Final = {"server": "#2563eb", "postgres": "#f59e0b", "redis": "#ef4444"}
_NAMES: Final = {"server": "server", "postgres": "PostgreSQL", "redis": "Redis"}


class _Bar(NamedTuple):
    label: str
    length: float
    ours: bool


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw what was measured into ``folder``; returns the files."""
    plots: dict[str, Callable[[Results], Canvas | None]] = {
        "throughput.svg": _throughput,
        "cpu.svg": _cpu_time,
        "latency.svg": _latency,
        "memory.svg": _memory,
    }
    files = []
    style = mpl.rc_context(
        {
            "svg.hashsalt": "parley",  # ids would be random otherwise
            "svg.fonttype": "path",  # the same everywhere, whichever fonts there are
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )
    with style:
        for name, plot in plots.items():
            if (canvas := plot(results)) is not None:
                canvas.savefig(folder / name, format="svg", metadata={"Date": None})
                files.append(folder / name)
    return files


def _throughput(results: Results) -> Canvas | None:
    return _bars(
        results,
        ("saturation", "receipts"),
        lambda report: report.delivered_per_s if isinstance(report, ChatReport) else None,
        "messages per second (more is better)",
    )


def _latency(results: Results) -> Canvas | None:
    """Without the servers that can't keep up."""
    return _bars(
        results,
        ("rate-300", "rate-1000"),
        when_it_kept_up(
            lambda report: report.latency.p99_ms if isinstance(report, ChatReport) else None
        ),
        "p99 of the time to the receiver, ms (less is better)",
    )


def _memory(results: Results) -> Canvas | None:
    return _bars(
        results,
        ("idle-10000", "idle-1000"),
        lambda report: (
            report.memory_per_connection_bytes.get("server")
            if isinstance(report, IdleReport)
            else None
        ),
        "bytes per idle connection (less is better)",
    )


def _bars(
    results: Results,
    measures: Sequence[str],
    value: Callable[[Report], float | None],
    label: str,
) -> Canvas | None:
    """One row of bars for each server, one chart for each measure of which there are figures."""
    charts = [(MEASURES[name].title, _medians(results, name, value)) for name in measures]
    charts = [(title, bars) for title, bars in charts if bars]
    if not charts:
        return None
    canvas, all_axes = _canvas(len(charts), max(len(bars) for _, bars in charts))
    for axes, (title, bars) in zip(all_axes, charts, strict=True):
        colours = [_OURS if bar.ours else _THEIRS for bar in bars]
        drawn = axes.barh([bar.label for bar in bars], [bar.length for bar in bars], color=colours)
        axes.bar_label(drawn, fmt=_written, padding=3)
        _finish(axes, title, label)
    return canvas


def _cpu_time(results: Results) -> Canvas | None:
    """Bars of several parts: who spends how much on a message."""
    measure = "saturation"
    names = results.measured(measure)
    if not names:
        return None
    canvas, (axes,) = _canvas(1, len(names))
    labels = [results.servers[name] for name in names]
    ends = [0.0] * len(names)
    for group, colour in _PARTS.items():
        found = [figure(results.reports(measure, name, Report), cpu(group)) for name in names]
        lengths = [each.median if each else 0.0 for each in found]
        axes.barh(labels, lengths, left=ends, color=colour, label=_NAMES[group])
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    for place, end in enumerate(ends):
        axes.annotate(_written(end), (end, place), (3, 0), textcoords="offset points", va="center")
    canvas.legend(frameon=False, loc="outside lower center", ncols=len(_PARTS))
    _finish(axes, MEASURES[measure].title, "CPU time per message, µs (less is better)")
    return canvas


def _medians(results: Results, measure: str, value: Callable[[Report], float | None]) -> list[_Bar]:
    bars = []
    for name in results.measured(measure):
        found = figure(results.reports(measure, name, Report), value)
        if found is not None:
            bars.append(_Bar(results.servers[name], found.median, name.startswith("parley")))
    return bars


def _canvas(charts: int, bars: int) -> tuple[Canvas, list[Axes]]:
    canvas = Canvas(figsize=(5.2 * charts, 0.9 + 0.38 * bars), layout="constrained")
    grid = canvas.subplots(1, charts, squeeze=False)
    return canvas, list(grid[0])


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.invert_yaxis()  # the first on top
    axes.margins(x=0.15)  # room for the numbers
    axes.set_title(title, loc="left")
    axes.set_xlabel(label)


def _written(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
