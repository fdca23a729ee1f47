"""What Parley is meant to reach, beside what was measured in the same run."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from bench.load.report import ChatReport, IdleReport, Report
from bench.results import Results, cpu, figure

_COMPARE: Final = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}
_Value: TypeAlias = Callable[[Report], float | None]


class Target(msgspec.Struct, frozen=True):
    """One of them."""

    what: str
    relation: Literal["≥", "≤", "<"]
    limit: float
    unit: str
    measured: float | None
    """None if it wasn't."""

    @property
    def met(self) -> bool | None:
        """None if nothing was measured."""
        return None if self.measured is None else _COMPARE[self.relation](self.measured, self.limit)


def targets(results: Results) -> list[Target]:
    """All of them, met or not."""
    return [*_ratios(results), *_limits(results)]


def _ratios(results: Results) -> Iterator[Target]:
    """Parley's figure and a peer's, from the same rounds."""
    for what, limit, measure, peer in (
        ("messages/s, against NestJS", 20.0, "saturation", "nestjs"),
        ("messages/s with receipts, against NestJS", 15.0, "receipts", "nestjs"),
    ):
        ratio = _ratio(results, measure, _throughput, "parley", peer)
        yield Target(what, "≥", limit, "×", ratio)
    for what, limit, measure, peer in (
        ("CPU per message, less than NestJS", 20.0, "saturation", "nestjs"),
        ("CPU per message at 300/s, less than NestJS", 4.0, "rate-300", "nestjs"),
        ("CPU per message, less than Node with group commit", 1.7, "saturation", "node-group"),
    ):
        ratio = _ratio(results, measure, cpu("server"), peer, "parley")
        yield Target(what, "≥", limit, "×", ratio)
    p99 = _ratio(results, "rate-300", _p99, "parley", "nestjs")
    yield Target("p99 at 300/s, as a part of NestJS's", "≤", 1, "×", p99)


def _limits(results: Results) -> Iterator[Target]:
    """Parley's figures by themselves."""
    memory = _median(results, "idle-10000", "parley", _memory)
    yield Target("memory per idle connection, of 10,000", "<", 4000, "bytes", memory)
    connect = _median(results, "idle-10000", "parley", cpu("server"))
    yield Target("CPU per WebSocket connect, of 10,000", "<", 600, "µs", connect)
    transport = _median(results, "stores", "transport", cpu("server"))
    yield Target("CPU per message, nothing stored", "<", 25, "µs", transport)


def _ratio(
    results: Results, measure: str, value: _Value, dividend: str, divisor: str
) -> float | None:
    """Of two servers' medians; None if one of them wasn't measured."""
    above = _median(results, measure, dividend, value)
    below = _median(results, measure, divisor, value)
    return above / below if above is not None and below else None


def _median(results: Results, measure: str, server: str, value: _Value) -> float | None:
    found = figure(results.reports(measure, server, Report), value)
    return found.median if found else None


def _throughput(report: Report) -> float | None:
    return report.delivered_per_s if isinstance(report, ChatReport) else None


def _p99(report: Report) -> float | None:
    return report.latency.p99_ms if isinstance(report, ChatReport) else None


def _memory(report: Report) -> float | None:
    if not isinstance(report, IdleReport):
        return None
    return report.memory_per_connection_bytes.get("server")
