"""The state of channels, against a server that answers late and changes its mind."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import cast

import pytest

from parley.bus.redis_channels import RedisChannels
from parley.bus.redis_link import RedisLink, Then
from parley.model import UserId

PREFIX = b"parley:0:inbox:"
ANN, BOB = UserId("ann"), UserId("bob")


class Server:
    """Stands for a link and its server: takes commands, and answers when it is told to."""

    def __init__(self) -> None:
        self.joined: set[bytes] = set()
        self.commands: list[tuple[str, tuple[bytes, ...]]] = []
        self.refuses: set[bytes] = set()
        self._waiting: deque[tuple[bool, Sequence[bytes], Then]] = deque()
        self._channels: RedisChannels

    @property
    def link(self) -> RedisLink:
        return cast("RedisLink", self)

    def subscribe(self, names: Sequence[bytes], then: Then) -> None:
        self.commands.append(("subscribe", tuple(names)))
        self._waiting.append((True, names, then))

    def unsubscribe(self, names: Sequence[bytes], then: Then) -> None:
        self.commands.append(("unsubscribe", tuple(names)))
        self._waiting.append((False, names, then))

    def answer(self, channels: RedisChannels) -> bool:
        """Do what waits longest, and confirm it; False if nothing waits."""
        if not self._waiting:
            return False
        joining, names, then = self._waiting.popleft()
        for name in names:
            if not joining:
                self.joined.discard(name)
                channels.unsubscribed(self.link, name)
            elif name not in self.refuses:
                self.joined.add(name)
                channels.subscribed(self.link, name)
        then(None)
        return True

    def lose_slot(self, channels: RedisChannels, name: bytes) -> bool:
        """The channel isn't this server's any more; says whether that was a surprise."""
        if name not in self.joined:
            return False
        self.joined.discard(name)
        return not channels.unsubscribed(self.link, name)

    def die(self, channels: RedisChannels) -> None:
        waiting, self._waiting = self._waiting, deque()
        for _, _, then in waiting:
            then(ConnectionError())
        self.joined.clear()
        channels.lost(self.link)


class Bench:
    """Channels, and where they belong."""

    def __init__(self) -> None:
        self.server: Server | None = Server()
        """To which all channels belong; None while it is away."""
        self.refusals = 0
        self.channels = RedisChannels(PREFIX, self._find, self._refused)

    def _find(self, name: bytes) -> RedisLink | None:
        return None if self.server is None else self.server.link

    def _refused(self, link: RedisLink) -> None:
        self.refusals += 1

    async def quiet(self) -> None:
        """Let the server answer until nothing is left to say."""
        left = True
        while left:
            await asyncio.sleep(0)
            left = self.server is not None and self.server.answer(self.channels)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def name(owner: UserId) -> bytes:
    return PREFIX + owner.encode()


async def test_changes_of_one_turn_leave_together(bench: Bench) -> None:
    owners = [UserId(f"user-{number}") for number in range(100)]
    for each in owners:
        bench.channels.want(each)
    assert bench.server is not None
    assert bench.server.commands == []
    await bench.quiet()
    assert bench.server.commands == [("subscribe", tuple(map(name, owners)))]
    for each in owners:
        bench.channels.unwant(each)
    await bench.quiet()
    assert bench.server.commands[1:] == [("unsubscribe", tuple(map(name, owners)))]
    assert len(bench.channels) == 0


async def test_what_is_taken_back_at_once_is_never_sent(bench: Bench) -> None:
    bench.channels.want(ANN)
    bench.channels.unwant(ANN)
    await bench.quiet()
    assert bench.server is not None
    assert bench.server.commands == []
    assert len(bench.channels) == 0


async def test_one_change_at_a_time_is_under_way(bench: Bench) -> None:
    assert bench.server is not None
    bench.channels.want(ANN)
    await asyncio.sleep(0)
    for _ in range(3):
        bench.channels.unwant(ANN)
        await asyncio.sleep(0)
        bench.channels.want(ANN)
        await asyncio.sleep(0)
    assert len(bench.server.commands) == 1
    bench.channels.unwant(ANN)
    await bench.quiet()
    assert [verb for verb, _ in bench.server.commands] == ["subscribe", "unsubscribe"]
    assert bench.server.joined == set()


async def test_who_comes_back_while_leaving_waits_for_the_new_confirmation(bench: Bench) -> None:
    assert bench.server is not None
    bench.channels.want(ANN)
    await bench.quiet()
    bench.channels.unwant(ANN)
    await asyncio.sleep(0)  # it has been asked to leave it
    waiting = bench.channels.want(ANN).settling()
    await asyncio.sleep(0)
    bench.server.answer(bench.channels)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    bench.server.answer(bench.channels)
    await waiting
    assert bench.server.joined == {name(ANN)}


async def test_a_refused_channel_is_told_of_and_nobody_waits_for_it(bench: Bench) -> None:
    assert bench.server is not None
    bench.server.refuses = {name(ANN)}
    waiting = [bench.channels.want(each).settling() for each in (ANN, BOB)]
    await bench.quiet()
    await asyncio.gather(*waiting)
    assert bench.refusals == 1
    assert bench.server.joined == {name(BOB)}
    assert [each.owner for each in bench.channels.homeless()] == [ANN]


async def test_a_slot_that_leaves_is_a_surprise_unless_it_was_asked_to(bench: Bench) -> None:
    assert bench.server is not None
    for each in (ANN, BOB):
        bench.channels.want(each)
    await bench.quiet()
    assert bench.server.lose_slot(bench.channels, name(ANN))
    bench.channels.unwant(BOB)
    await asyncio.sleep(0)  # it has been asked to leave it
    assert not bench.server.lose_slot(bench.channels, name(BOB))
    await bench.quiet()
    assert [each.owner for each in bench.channels.homeless()] == [ANN]


async def test_what_another_link_says_does_not_count(bench: Bench) -> None:
    former, bench.server = bench.server, Server()
    assert former is not None
    bench.channels.want(ANN)
    await asyncio.sleep(0)
    bench.channels.subscribed(former.link, name(ANN))
    assert bench.channels.unsubscribed(former.link, name(ANN))
    waiting = bench.channels.want(ANN).settling()
    await asyncio.sleep(0)
    assert not waiting.done()
    await bench.quiet()
    await waiting


async def test_channels_that_belong_elsewhere_now_are_homeless(bench: Bench) -> None:
    bench.channels.want(ANN)
    await bench.quiet()
    assert bench.channels.homeless() == []
    bench.server = Server()
    homeless = bench.channels.homeless()
    assert [each.owner for each in homeless] == [ANN]
    bench.channels.rejoin(homeless)
    await bench.quiet()
    assert bench.server.joined == {name(ANN)}


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_happens_the_server_has_in_the_end_what_is_wanted(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - repeatable
    bench, owners, wanted = Bench(), [UserId(f"user-{n}") for n in range(5)], set[UserId]()
    waiters: list[asyncio.Future[None]] = []
    for _ in range(400):
        await one_step(bench, chance, chance.choice(owners), wanted, waiters)
    bench.server = bench.server or Server()
    bench.channels.rejoin(bench.channels.homeless())
    await bench.quiet()
    assert bench.server.joined == {name(each) for each in wanted}
    assert len(bench.channels) == len(wanted)
    await asyncio.wait_for(asyncio.gather(*waiters, return_exceptions=True), 5)


async def one_step(
    bench: Bench,
    chance: random.Random,
    owner: UserId,
    wanted: set[UserId],
    waiters: list[asyncio.Future[None]],
) -> None:
    """Something happens, and a moment may pass."""
    step = chance.random()
    if step < 0.3:
        waiters.append(bench.channels.want(owner).settling())
        wanted.add(owner)
    elif step < 0.6:
        bench.channels.unwant(owner)
        wanted.discard(owner)
    elif step < 0.65 and waiters:
        chance.choice(waiters).cancel()
    elif step < 0.67 and bench.server is not None:
        dead, bench.server = bench.server, None
        dead.die(bench.channels)
    elif step < 0.7 and bench.server is None:
        bench.server = Server()
        bench.channels.rejoin(bench.channels.homeless())
    elif step < 0.75 and bench.server is not None:
        bench.server.lose_slot(bench.channels, name(owner))
    elif bench.server is not None:
        bench.server.answer(bench.channels)
    if chance.random() < 0.5:
        await asyncio.sleep(0)
