"""What a node knows of revocations, and when it learns of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager

from parley.bus.local import LocalBus
from parley.chat.ports import Revocation
from parley.chat.revocations import Revocations
from parley.model import UserId

from . import ALICE, BOB, NOW, FakeClock, Kicks, until, user

NEVER = 3600.0
"""Seconds; longer than any test."""
MILLISECONDS = round(NOW * 1000)


class Announcing(LocalBus):
    """A bus on which another node can be heard."""

    def __init__(self) -> None:
        super().__init__()
        self.announce: Callable[[], None]

    def on_revocations(self, look: Callable[[], None]) -> None:
        self.announce = look


class Node:
    """Revocations, with what they rest on."""

    def __init__(self, kicks: Kicks, every: float) -> None:
        self.bus = Announcing()
        self.clock = FakeClock()
        self.revocations = Revocations(kicks, self.bus, self.clock, every)
        self.told: list[set[UserId]] = []

    def tell(self, users: AbstractSet[UserId]) -> None:
        self.told.append(set(users))

    def refuses(self, who: UserId) -> bool:
        return self.revocations.find(who, NOW - 1) is not None


def kick(who: UserId, until: float = 1000.0) -> Revocation:
    return Revocation(who, MILLISECONDS, MILLISECONDS + round(until * 1000), "")


@asynccontextmanager
async def started(kicks: Kicks, every: float = 0.01) -> AsyncIterator[Node]:
    node = Node(kicks, every)
    await node.revocations.start(node.tell)
    try:
        yield node
    finally:
        await node.revocations.close()


async def test_it_knows_those_that_count_when_it_has_started() -> None:
    kicks = Kicks()
    for revocation in (kick(ALICE), kick(BOB, until=-1)):
        await kicks.put(revocation)
    async with started(kicks) as node:
        assert node.refuses(ALICE)
        assert not node.refuses(BOB)


async def test_it_learns_of_others_by_itself() -> None:
    kicks = Kicks()
    async with started(kicks) as node:
        await kicks.put(kick(ALICE))
        await until(lambda: node.refuses(ALICE))
        assert node.told == [{ALICE}]


async def test_it_looks_at_once_when_the_bus_says_so() -> None:
    kicks = Kicks()
    async with started(kicks, NEVER) as node:
        for who in (ALICE, BOB):
            await kicks.put(kick(who))
            node.bus.announce()
            await until(lambda: node.refuses(who))  # noqa: B023 - it is waited for


async def test_it_learns_when_one_is_lifted() -> None:
    kicks = Kicks()
    await kicks.put(kick(ALICE))
    async with started(kicks) as node:
        await kicks.put(Revocation(ALICE, 0, 0, ""))
        await until(lambda: not node.refuses(ALICE))
        assert node.told == [{ALICE}], "only of the first; nobody is disconnected by the second"


async def test_more_than_one_reading_brings() -> None:
    kicks = Kicks()
    many = [user(number) for number in range(1, 1203)]
    for each in many:
        await kicks.put(kick(each))
    async with started(kicks) as node:
        assert all(node.refuses(each) for each in many)
        assert set().union(*node.told) == set(many)


async def test_what_has_ended_before_is_never_read_again() -> None:
    kicks = Kicks()
    for number in range(1, 700):
        await kicks.put(kick(user(number), until=-1))
    async with started(kicks, NEVER) as node:
        assert node.told == []
        looks, reads = kicks.looks, kicks.reads
        node.bus.announce()
        await until(lambda: kicks.looks > looks)
        assert kicks.reads == reads


async def test_it_waits_for_a_store_that_is_away() -> None:
    kicks = Kicks()
    await kicks.put(kick(ALICE))
    kicks.away = True
    async with started(kicks) as node:
        assert not node.refuses(ALICE)
        kicks.away = False
        await until(lambda: node.refuses(ALICE))
        kicks.away = True
        looks = kicks.looks
        node.bus.announce()
        await until(lambda: kicks.looks > looks)
        assert node.refuses(ALICE), "what is known is kept"


async def test_an_older_copy_of_the_store_takes_over() -> None:
    kicks = Kicks()
    for who in (ALICE, BOB):
        await kicks.put(kick(who))
    async with started(kicks, NEVER) as node:
        kicks.lose()
        await kicks.put(kick(user(9)))
        node.bus.announce()
        await until(lambda: node.refuses(user(9)))
        assert node.refuses(ALICE), "what is known is kept"


async def test_one_ends_by_itself() -> None:
    kicks = Kicks()
    await kicks.put(kick(ALICE, until=60))
    async with started(kicks) as node:
        node.clock.time = NOW + 59.9
        assert node.refuses(ALICE)
        node.clock.time = NOW + 60
        assert not node.refuses(ALICE)
