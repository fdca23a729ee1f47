"""What was measured, where and how: everything that tables and plots are made from."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.load.report import AnyReport, ChatReport, Report

R = TypeVar("R", bound=Report)

KEPT_UP = 0.97
"""Who delivers less of what is sent while it is sent can't keep up."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured."""

    cpu: str
    cores: int
    memory_bytes: int
    system: str
    """The kernel and its release."""
    file_system: str
    """Of the folder with the databases."""
    versions: dict[str, str]
    """Of programs and libraries, by name."""


class Run(msgspec.Struct, frozen=True):
    """One measurement of one server."""

    measure: str
    server: str
    round: int
    """From 1."""
    report: AnyReport


class Omission(msgspec.Struct, frozen=True):
    """A measurement that could not be made."""

    measure: str
    server: str
    reason: str


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one command measured."""

    date: str
    """When it began, in ISO 8601."""
    commit: str
    """Parley's, with ``+`` at its end if files had been changed since."""
    command: str
    machine: Machine
    servers: dict[str, str]
    """How tables call each server, by its name, in the order of the tables."""
    runs: list[Run]
    omissions: list[Omission]

    def reports(self, measure: str, server: str, kind: type[R]) -> list[R]:
        """What was measured of a server, round by round."""
        return [
            run.report
            for run in self.runs
            if (run.measure, run.server) == (measure, server) and isinstance(run.report, kind)
        ]

    def measured(self, measure: str) -> list[str]:
        """The servers of which there are figures, in the order of the tables."""
        found = {run.server for run in self.runs if run.measure == measure}
        return [name for name in self.servers if name in found]

    def save(self, file: Path) -> None:
        """As JSON that people can read."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=1)
        file.write_bytes(text + b"\n")


def load(file: Path) -> Results:
    """What :meth:`Results.save` wrote.

    Raises:
        msgspec.ValidationError, msgspec.DecodeError: it isn't that.
    """
    return msgspec.json.decode(file.read_bytes(), type=Results)


class Figure(msgspec.Struct, frozen=True):
    """A quantity that was measured several times."""

    median: float
    low: float
    high: float


def figure(reports: Iterable[R], value: Callable[[R], float | None]) -> Figure | None:
    """The median and the spread of a value; None if it is known of no report."""
    known = [found for report in reports if (found := value(report)) is not None]
    return Figure(statistics.median(known), min(known), max(known)) if known else None


def cpu(group: str) -> Callable[[Report], float | None]:
    """The CPU time of a group of processes, in microseconds per message or connect."""

    def value(report: Report) -> float | None:
        usage = report.usage.get(group)
        return usage.cpu_us if usage else None

    return value


def kept_up(report: ChatReport) -> bool:
    """The server delivered as fast as was sent; otherwise its latency means nothing."""
    return report.delivered >= KEPT_UP * report.sent


def flaws(report: Report) -> str:
    """What the server should not have done, in words; empty if nothing."""
    counts = dict(report.problems)
    if isinstance(report, ChatReport):
        for name in ("lost", "duplicated", "reordered", "unacknowledged"):
            counts[name] = getattr(report, name)
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
