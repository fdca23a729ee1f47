"""One soak: warm up, look, let the crowd in for a while, and look again when all have left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from tests.e2e.clients import devices_of_a_test
from tests.e2e.server import ChatServer, Entrance
from tests.soak.crowd import Crowd
from tests.soak.looking import Look, Sample, at_rest, looks

SETTINGS: Final = {
    "LOG_LEVEL": "info",
    "PING_INTERVAL": "5",
    "PING_TIMEOUT": "10",
    "CONNECT_TIMEOUT": "5",
    "DATABASE_POOL_SIZE": "2",
    "RATE_ADDRESS_CONNECTS": "1000",
    "RATE_CONNECTION_EVENTS": "400",
    "RATE_CONNECTION_BURST": "200",
}
"""Of the servers: clients that are gone without a word are missed soon, all of them come from one
address, and some send more than they may."""
SPARE_FILES: Final = 12
"""Connections that a server makes when it first needs them, to its database, its Redis and its
peers, and may have had fewer of at the first look; and the look's own."""
SPARE_TASKS: Final = 8
"""The tasks of as many."""
SPARE_MEMORY: Final = 12 * 2**20
"""Bytes that an allocator may keep after a crowd, however long it stayed."""
SQLITE_MEMORY: Final = 36 * 2**20
"""Bytes that SQLite keeps of its file besides, once so much has been written."""


class Plan(msgspec.Struct, frozen=True):
    """What is to be done."""

    seconds: float
    """For which the crowd stays, after a warm-up of a third of that, 60 at most."""
    people: int
    seed: int
    every: float = 5.0
    """Seconds between two looks."""


class Report(msgspec.Struct, frozen=True):
    """What was done, and what it left behind."""

    plan: Plan
    visits: dict[str, int]
    sent: int
    """Messages that were acknowledged."""
    warm: list[Look]
    """Each server when the first crowd had left."""
    after: list[Look]
    """Each server when all had left."""
    samples: list[Sample]


async def soak(
    plan: Plan,
    entrances: Sequence[Entrance],
    servers: Sequence[ChatServer],
    tell: Callable[[Sample], None] = lambda sample: None,
) -> Report:
    """Let the crowd in.  Raises whatever a client met that should not be, and AssertionError
    if servers don't forget their clients."""
    samples: list[Sample] = []
    await at_rest(servers)
    async with devices_of_a_test():
        crowd = Crowd(entrances, plan.people, plan.seed)
        await crowd.stay(min(60.0, plan.seconds / 3))
        warm = await at_rest(servers)
        watching = asyncio.create_task(_watch(plan.every, servers, samples, tell))
        try:
            await crowd.stay(plan.seconds)
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    after = await at_rest(servers)
    return Report(plan, dict(crowd.visits), crowd.sent, warm, after, samples)


def check(report: Report, cache: int = 0) -> None:
    """Fail if servers are not as they were, or have met with a fault of their own.

    ``cache``: bytes that they may keep of their database.
    """
    assert report.sent > 0, "nobody was there"
    for warm, after in zip(report.warm, report.after, strict=True):
        assert after.tables == warm.tables, f"tables: {warm.tables}, and in the end {after.tables}"
        assert after.files <= warm.files + SPARE_FILES, "files stay open"
        assert after.tasks <= warm.tasks + SPARE_TASKS, "tasks go on"
        assert after.memory <= warm.memory + SPARE_MEMORY + cache, "memory is kept"
        assert after.incidents["fault"] == 0, "there were faults"


async def _watch(
    every: float,
    servers: Sequence[ChatServer],
    samples: list[Sample],
    tell: Callable[[Sample], None],
) -> None:
    began = time.monotonic()
    while True:
        samples.append(Sample(round(time.monotonic() - began, 1), await looks(servers)))
        tell(samples[-1])
        await asyncio.sleep(every)
