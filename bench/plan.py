"""What is measured, on which servers, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from bench.seed import SEED

MAIN: Final = ("parley", "nestjs", "node", "node-group", "python-socketio")
CONNECTING: Final = ("parley", "nestjs", "node-group", "python-socketio")
"""Without the other Node, which differs only in how it stores messages."""
GROWTH: Final = "growth"
"""It takes minutes and gigabytes to prepare."""


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One way to load a server, and what to run it on."""

    name: str
    title: str
    load: tuple[str, ...]
    """Arguments of ``python -m bench.load``: a mode and what it is given."""
    servers: tuple[str, ...] = MAIN
    others: bool = True
    """Servers that were named by ``--server`` are measured too."""
    rounds: int = 3
    """How often each server is measured, unless another number is wished."""
    fresh: bool = False
    """Every run has a new process: memory that was freed would hide what is allocated."""
    connections: int = 0
    """How many are open at a time, where that is many."""

    @property
    def timed(self) -> bool:
        """It lasts as many seconds as is wished."""
        return self.load[0] == "chat"


def _chat(
    name: str,
    title: str,
    *arguments: str,
    servers: tuple[str, ...] = MAIN,
    rounds: int = 3,
) -> Measure:
    return Measure(
        name=name, title=title, load=("chat", *arguments), servers=servers, rounds=rounds
    )


def _parley(
    name: str, title: str, *servers: str, arguments: tuple[str, ...] = (), rounds: int = 3
) -> Measure:
    """Parley in other ways, as fast as it goes."""
    return Measure(
        name=name,
        title=title,
        load=("chat", "--window", "4", *arguments),
        servers=servers,
        others=False,
        rounds=rounds,
    )


def _connects(transport: str, connects: int) -> Measure:
    return Measure(
        name=f"connects-{transport}",
        title=f"connects by {transport}",
        load=("connects", "--transport", transport, "--connects", str(connects)),
        servers=CONNECTING,
    )


def _idle(connections: int, *servers: str, rounds: int = 1) -> Measure:
    return Measure(
        name=f"idle-{connections}",
        title=f"{connections:,} idle connections",
        load=("idle", "--connections", str(connections), "--seconds", "2"),
        servers=servers or CONNECTING,
        rounds=rounds,
        fresh=True,
        connections=connections,
    )


MEASURES: Final = {
    measure.name: measure
    for measure in (
        _chat("saturation", "as fast as it goes", "--window", "4", rounds=5),
        _chat("receipts", "with receipts", "--window", "4", "--receipts", rounds=5),
        _chat(
            "acknowledgements",
            "with receipts and acknowledgements",
            *("--window", "4", "--receipts", "--acknowledgements"),
        ),
        _chat("rate-300", "300 messages/s", "--rate", "300"),
        _chat("rate-300-receipts", "300 messages/s with receipts", "--rate", "300", "--receipts"),
        _chat("rate-1000", "1,000 messages/s", "--rate", "1000"),
        # The others are far from it, as fast as they go.
        _chat(
            "rate-4000",
            "4,000 messages/s",
            *("--rate", "4000"),
            servers=("parley", "node", "node-group"),
        ),
        _connects("websocket", 2000),
        _connects("upgrade", 1000),
        _idle(1000),
        _idle(10_000, rounds=3),
        _idle(50_000, "parley-4", "node-group"),
        _parley("workers", "Parley with workers", "parley", "parley-2", "parley-4"),
        _parley("stores", "Parley on other stores", "parley-sqlite", "transport", rounds=5),
        _parley(
            GROWTH,
            "Parley as its database grows",
            *("parley", "parley-1m", "parley-5m"),
            arguments=("--seed", SEED),
        ),
    )
}

_USUALLY: Final = 3.0
"""Seconds that a run takes besides those it measures: upkeep, connecting, warming up, the end."""
_TAKES: Final[Mapping[str, float]] = {
    "rate-1000": 4,
    "rate-4000": 4,
    "connects-websocket": 10,
    "connects-upgrade": 7.5,
    "idle-1000": 9,
    "idle-10000": 39,
    "idle-50000": 60,
}
"""The same where it is more, for the average server: queues are emptied, or many connect."""
_PREPARING: Final[Mapping[str, float]] = {GROWTH: 250}
"""Seconds before the first run."""

QUICK: Final = (
    *("saturation", "receipts", "rate-300", "connects-websocket", "connects-upgrade"),
    *("idle-1000", "stores"),
)
"""What tells most in a few minutes."""


class Turn(NamedTuple):
    """One measure, and the servers that take turns with it."""

    measure: Measure
    servers: tuple[str, ...]
    rounds: int


def plan(
    measures: Sequence[Measure], wanted: Collection[str], others: Sequence[str], rounds: int | None
) -> Iterator[Turn]:
    """Which servers are measured in turn; ``wanted`` are all that may be, if it isn't empty.

    ``others`` are those that no measure names.  ``rounds`` is for all measures, None for each
    its own.
    """
    for measure in measures:
        named = dict.fromkeys((*measure.servers, *(others if measure.others else ())))
        servers = tuple(name for name in named if not wanted or name in wanted)
        if servers:
            yield Turn(measure, servers, rounds or measure.rounds)


def length(turns: Iterable[Turn], seconds: float) -> float:
    """About how many seconds all of it takes on two cores, if runs measure for ``seconds``."""
    total = 0.0
    for measure, servers, rounds in turns:
        run = _TAKES.get(measure.name, _USUALLY) + (seconds if measure.timed else 0)
        total += len(servers) * rounds * run + _PREPARING.get(measure.name, 0)
    return total
