"""What the load generator prints: one of these as a line of JSON, told apart by ``mode``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import msgspec

GENERATOR = "generator"
"""The group of processes that is always there: the load generator's own."""
KEPT_UP: Final = 0.97
"""Who delivers less of what is sent, while it is sent, can't keep up."""


class Usage(msgspec.Struct, frozen=True):
    """The CPU time of one named group of processes in a window, per unit of work.

    The unit is a delivered message or an opened connection, as the report says.  A figure is None
    if there was no work to divide by, or if a process that was named by its id has ended: its
    children's and its own time went with it.
    """

    cpu_us: float | None
    """Microseconds, exact; user and system together."""
    system_us: float | None
    """The system's part of it.  The kernel tells the parts apart by ticks of 10 ms only."""
    cpu_percent: float | None
    """Of one core, over the window; it may be above 100."""


class Latency(msgspec.Struct, frozen=True):
    """Percentiles in milliseconds, without interpolation.  None if nothing was measured."""

    p50_ms: float | None
    p99_ms: float | None
    p999_ms: float | None


class Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="mode"):
    """What all modes tell."""

    connections: int
    """Those that were opened."""
    errors: int
    """Failed connections, disconnects, error events and whatever else should not come."""
    problems: dict[str, int]
    """The most frequent kinds of errors, and how often each came."""
    usage: dict[str, Usage]
    """By the names given with ``--pid``, and ``generator``."""
    memory_bytes: dict[str, int | None]
    """PSS at the end, by group: pages shared by n processes count 1/n in each of them."""

    @property
    def flaws(self) -> dict[str, int]:
        """What a server must not do, and how often it did it."""
        others = self.errors - sum(self.problems.values())
        return {**self.problems, "other errors": others} if others else dict(self.problems)

    @property
    def flawless(self) -> bool:
        """Nothing that a server must not do was seen."""
        return not self.flaws


class ChatReport(Report, frozen=True, kw_only=True, tag="chat"):
    """Messages between pairs of clients.  ``usage`` is per delivered message.

    ``sent``, ``delivered``, ``acknowledged`` and ``latency`` are of the measuring window; the
    flaws, ``undelivered`` and ``sent_in_all`` are of the whole run, warm-up and end included.
    """

    seconds: float
    """The length of the window."""
    sent: int
    sent_in_all: int
    delivered: int
    delivered_per_s: float
    acknowledged: int
    latency: Latency
    """From sending, or from when the schedule wanted it sent, to arrival at the receiver."""
    undelivered: int = 0
    """Messages that a server which could not keep up with a schedule still had when the run ended.

    They may be on their way or lost, which nobody can tell: so they are no flaw.
    """
    lost: int
    """Messages that did not come within ``--lost-after`` seconds, nor later."""
    late: int
    """Those that came after all."""
    duplicated: int
    reordered: int
    """Messages that came after one that their sender had sent later."""
    unacknowledged: int
    """Acknowledgements that were asked for and did not come, if the server kept up."""

    @property
    def kept_up(self) -> bool:
        """The server delivered as fast as was sent; otherwise it worked on a growing queue."""
        return kept_up(self.sent, self.delivered)

    @property
    def flaws(self) -> dict[str, int]:
        counts = {
            "lost": self.lost,
            "late": self.late,
            "duplicated": self.duplicated,
            "reordered": self.reordered,
            "unacknowledged": self.unacknowledged,
        }
        return super().flaws | {what: count for what, count in counts.items() if count}


class ConnectsReport(Report, frozen=True, kw_only=True, tag="connects"):
    """Connections that were opened, and closed again at once.  ``usage`` is per connection."""

    transport: str
    """``websocket``, or ``upgrade``: long-polling and then a WebSocket."""
    seconds: float
    connects_per_s: float
    latency: Latency
    """From the first packet on the wire until the namespace is joined and the upgrade done."""


class IdleReport(Report, frozen=True, kw_only=True, tag="idle"):
    """Connections that were opened and held.  ``usage`` is per connection, of opening them."""

    seconds: float
    """How long opening them took."""
    connects_per_s: float
    memory_before_bytes: dict[str, int | None]
    """PSS by group before the first connection."""
    memory_per_connection_bytes: dict[str, int | None]
    """The growth of PSS until the end, divided by the connections."""
    idle_cpu_percent: dict[str, float | None]
    """Of one core, while nothing happened but heartbeats."""


def kept_up(sent: int, delivered: int) -> bool:
    """Whether so few of the messages of a window could still be on their way at its end."""
    return delivered >= KEPT_UP * sent


AnyReport: TypeAlias = ChatReport | ConnectsReport | IdleReport
_DECODER: msgspec.json.Decoder[AnyReport] = msgspec.json.Decoder(AnyReport)


def encode(report: AnyReport) -> str:
    """One line, without its end."""
    return msgspec.json.encode(report).decode()


def decode(line: str | bytes) -> AnyReport:
    """The report in a line.  Raises msgspec.ValidationError or DecodeError for anything else."""
    return _DECODER.decode(line)


def growth(
    before: Mapping[str, int | None], after: Mapping[str, int | None], connections: int
) -> dict[str, int | None]:
    """What each connection has added to the memory of each group, in bytes."""
    grown: dict[str, int | None] = {}
    for name, end in after.items():
        start = before[name]
        grown[name] = None
        if start is not None and end is not None and connections > 0:
            grown[name] = round((end - start) / connections)
    return grown
