"""What was measured, where and how: everything that tables and plots are made from."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bench.load.report import AnyReport, ChatReport, Report

R = TypeVar("R", bound=Report)

DISTURBED: Final = 0.1
"""If more of the processors' time is withheld, a run tells of the host as well."""


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
    withheld: float | None = None
    """The part of the processors' time that the machine's host kept for others, 0 to 1."""


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

    @property
    def changed(self) -> bool:
        """Files differed from the commit."""
        return self.commit.endswith("+")

    def reports(self, measure: str, server: str, kind: type[R]) -> list[R]:
        """What was measured of a server, round by round."""
        return list(self.rounds(measure, server, kind).values())

    def rounds(self, measure: str, server: str, kind: type[R]) -> dict[int, R]:
        """What was measured of a server, by the number of the round."""
        return {
            run.round: run.report
            for run in self.runs
            if (run.measure, run.server) == (measure, server) and isinstance(run.report, kind)
        }

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
    rounds: int


def figure(reports: Iterable[R], value: Callable[[R], float | None]) -> Figure | None:
    """The median and the spread of a value; None if it is known of no report."""
    return _figure([value(report) for report in reports])


def ratio(
    results: Results,
    measure: str,
    value: Callable[[Report], float | None],
    dividend: str,
    divisor: str,
) -> Figure | None:
    """Of two servers' values, round by round; None if no round knows both.

    Within a round all servers take their turns, so that what slows down the machine slows down
    both: a ratio of medians would often divide a good round by a bad one.
    """
    above = results.rounds(measure, dividend, Report)
    below = results.rounds(measure, divisor, Report)
    return _figure(
        [_quotient(value(above[number]), value(below[number])) for number in above & below.keys()]
    )


def _figure(values: Iterable[float | None]) -> Figure | None:
    known = [value for value in values if value is not None]
    return Figure(statistics.median(known), min(known), max(known), len(known)) if known else None


def _quotient(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def cpu(group: str) -> Callable[[Report], float | None]:
    """The CPU time of a group of processes, in microseconds per message or connect."""

    def value(report: Report) -> float | None:
        usage = report.usage.get(group)
        return usage.cpu_us if usage else None

    return value


def when_it_kept_up(
    value: Callable[[Report], float | None],
) -> Callable[[Report], float | None]:
    """The same value, but none of a round in which the server could not keep up with a schedule.

    It then works on a queue that grows: latency tells how long the run was, and CPU time for what
    is taken in is divided by the few messages that are delivered.
    """

    def of_a_steady_round(report: Report) -> float | None:
        overloaded = isinstance(report, ChatReport) and not report.kept_up
        return None if overloaded else value(report)

    return of_a_steady_round
