"""What Parley is meant to reach, beside what was measured in the same run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from bench.load.report import ChatReport, IdleReport, Report
from bench.results import Figure, Results, cpu, figure, ratio, when_it_kept_up

_COMPARE: Final = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}
_Value: TypeAlias = Callable[[Report], float | None]


class Target(msgspec.Struct, frozen=True):
    """One of them."""

    what: str
    relation: Literal["≥", "≤", "<"]
    limit: float
    unit: str
    measured: Figure | None
    """Its median is what counts.  None if it wasn't measured."""

    @property
    def met(self) -> bool | None:
        """None if nothing was measured."""
        if self.measured is None:
            return None
        return bool(_COMPARE[self.relation](self.measured.median, self.limit))


def targets(results: Results) -> list[Target]:
    """All of them, met or not."""
    return [*_ratios(results), *_limits(results)]


def _ratios(results: Results) -> Iterator[Target]:
    """Parley's figure and a peer's, from the same rounds."""
    for what, limit, measure in (
        ("messages/s, against NestJS", 20.0, "saturation"),
        ("messages/s with receipts, against NestJS", 15.0, "receipts"),
    ):
        found = ratio(results, measure, _throughput, "parley", "nestjs")
        yield Target(what, "≥", limit, "×", found)
    for what, limit, measure, peer in (
        ("CPU per message, less than NestJS", 20.0, "saturation", "nestjs"),
        ("CPU per message at 300/s, less than NestJS", 4.0, "rate-300", "nestjs"),
        ("CPU per message, less than Node with group commit", 1.7, "saturation", "node-group"),
    ):
        found = ratio(results, measure, when_it_kept_up(cpu("server")), peer, "parley")
        yield Target(what, "≥", limit, "×", found)
    p99 = ratio(results, "rate-300", when_it_kept_up(_p99), "parley", "nestjs")
    yield Target("p99 at 300/s, as a part of NestJS's", "≤", 1, "×", p99)


def _limits(results: Results) -> Iterator[Target]:
    """Parley's figures by themselves."""
    memory = figure(results.reports("idle-10000", "parley", Report), _memory)
    yield Target("memory per idle connection, of 10,000", "<", 4000, "bytes", memory)
    connect = figure(results.reports("idle-10000", "parley", Report), cpu("server"))
    yield Target("CPU per WebSocket connect, opening 10,000", "<", 600, "µs", connect)
    transport = figure(results.reports("stores", "transport", Report), cpu("server"))
    what = "CPU per message, transport alone (the store answers at once)"
    yield Target(what, "<", 25, "µs", transport)


def _throughput(report: Report) -> float | None:
    return report.delivered_per_s if isinstance(report, ChatReport) else None


def _p99(report: Report) -> float | None:
    return report.latency.p99_ms if isinstance(report, ChatReport) else None


def _memory(report: Report) -> float | None:
    if not isinstance(report, IdleReport):
        return None
    return report.memory_per_connection_bytes.get("server")
