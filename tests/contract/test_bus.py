"""What every Bus promises (see ``parley.chat.ports``), on every backend.

A bus may lose, repeat and reorder what it carries.  So here a push is sent
until it arrives, and nothing is said of how often or in which order it does.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

import pytest

from parley.bus.local import LocalBus
from parley.chat.ports import Bus
from parley.model import UserId

PATIENCE = 5
"""Seconds."""


class Ends(NamedTuple):
    """Two nodes' ends of one bus; of a bus that joins no nodes, the same one twice."""

    publisher: Bus
    subscriber: Bus


@asynccontextmanager
async def local() -> AsyncIterator[Ends]:
    bus = LocalBus()
    yield Ends(bus, bus)
    await bus.close()


# What a backend yields must not be attached yet; it is closed by the backend.
BUSES: dict[str, Callable[[], AbstractAsyncContextManager[Ends]]] = {
    "local": local,
}


@pytest.fixture(params=BUSES)
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    async with BUSES[request.param]() as opened:
        yield opened


class Node:
    """Both ends of a bus, and what arrived at the subscriber's."""

    def __init__(self, ends: Ends) -> None:
        self.publisher, self.subscriber = ends
        self.arrived: list[tuple[UserId, int, bytes]] = []
        self.threads: set[int] = set()
        self._sent = 0
        if self.publisher is not self.subscriber:
            self.publisher.attach(lambda owner, seq, packet: None)
        self.subscriber.attach(self._receive)

    def _receive(self, owner: UserId, seq: int, packet: bytes) -> None:
        self.threads.add(threading.get_ident())
        self.arrived.append((owner, seq, packet))

    async def carries(self, owner: UserId, seq: int, packet: bytes) -> None:
        """Publish until it arrives."""
        async with asyncio.timeout(PATIENCE):
            while (owner, seq, packet) not in self.arrived:
                self.publisher.publish(owner, seq, packet)
                await asyncio.sleep(0.005)

    async def carries_something(self, owner: UserId) -> None:
        self._sent += 1
        await self.carries(owner, self._sent, b"%d" % self._sent)

    async def falls_silent(self, owner: UserId, witness: UserId) -> None:
        """Publish for both until only what is for the witness arrives."""
        async with asyncio.timeout(PATIENCE):
            heard = True
            while heard:
                self.arrived.clear()
                for _ in range(3):
                    self.publisher.publish(owner, 1, b"for nobody")
                    await self.carries_something(witness)
                heard = any(each == owner for each, _, _ in self.arrived)


@pytest.fixture
def node(ends: Ends) -> Node:
    return Node(ends)


def owner() -> UserId:
    return UserId(str(uuid.uuid4()))


class TestBus:
    """The port's promises."""

    async def test_what_is_published_after_subscribe_arrives(self, node: Node) -> None:
        ann = owner()
        await node.subscriber.subscribe(ann)
        await node.carries(ann, 1, b"hello")

    @pytest.mark.parametrize(
        ("seq", "packet"),
        [
            (1, b""),
            (2**53, b'42["message",{"id":"\xc3\xa4"}]'),
            (2**63 - 1, bytes(range(256))),
            (1, b"\r\n\0$5\r\n"),
            (1, b"x" * 500_000),
        ],
        ids=["empty", "json", "all bytes", "a protocol's own marks", "large"],
    )
    async def test_packets_arrive_as_they_were(self, node: Node, seq: int, packet: bytes) -> None:
        ann = owner()
        await node.subscriber.subscribe(ann)
        await node.carries(ann, seq, packet)
        assert set(node.arrived) == {(ann, seq, packet)}
        assert all(type(each) is bytes for _, _, each in node.arrived)

    async def test_nothing_arrives_that_was_not_published(self, node: Node) -> None:
        owners = [owner() for _ in range(5)]
        for each in owners:
            await node.subscriber.subscribe(each)
        published = {
            (each, seq, b"%s %d" % (each.encode(), seq)) for each in owners for seq in range(1, 50)
        }
        for push in published:
            node.publisher.publish(*push)
        for push in published:
            await node.carries(*push)
        assert set(node.arrived) == published

    async def test_only_what_is_for_subscribed_owners_arrives(self, node: Node) -> None:
        ann, bob = owner(), owner()
        await node.subscriber.subscribe(ann)
        for _ in range(5):
            node.publisher.publish(bob, 1, b"for Bob")
            await node.carries_something(ann)
        assert {each for each, _, _ in node.arrived} == {ann}

    async def test_subscribing_again_is_harmless(self, node: Node) -> None:
        ann, bob = owner(), owner()
        for _ in range(3):
            await node.subscriber.subscribe(ann)
        await asyncio.gather(*(node.subscriber.subscribe(bob) for _ in range(3)))
        await node.carries_something(ann)
        await node.carries_something(bob)
        node.subscriber.unsubscribe(ann)  # once is enough
        await node.falls_silent(ann, witness=bob)

    async def test_unsubscribed_owners_fall_silent(self, node: Node) -> None:
        ann, bob = owner(), owner()
        for each in (ann, bob):
            await node.subscriber.subscribe(each)
        await node.carries_something(ann)
        node.subscriber.unsubscribe(ann)
        await node.falls_silent(ann, witness=bob)

    async def test_subscribing_right_after_unsubscribing(self, node: Node) -> None:
        ann = owner()
        for _ in range(10):
            await node.subscriber.subscribe(ann)
            node.subscriber.unsubscribe(ann)
        await node.subscriber.subscribe(ann)
        for _ in range(5):
            await node.carries_something(ann)

    async def test_a_subscribe_that_is_given_up_harms_no_later_one(self, node: Node) -> None:
        ann, bob = owner(), owner()
        for each in (ann, bob):
            given_up = asyncio.create_task(node.subscriber.subscribe(each))
            await asyncio.sleep(0)
            given_up.cancel()
            node.subscriber.unsubscribe(each)
        await asyncio.wait_for(node.subscriber.subscribe(ann), PATIENCE)
        await node.carries_something(ann)
        await node.falls_silent(bob, witness=ann)

    async def test_unsubscribing_a_stranger_is_harmless(self, node: Node) -> None:
        ann = owner()
        node.subscriber.unsubscribe(owner())
        await node.subscriber.subscribe(ann)
        node.subscriber.unsubscribe(owner())
        await node.carries_something(ann)

    async def test_many_owners_at_once(self, node: Node) -> None:
        owners = [owner() for _ in range(500)]
        await asyncio.wait_for(asyncio.gather(*map(node.subscriber.subscribe, owners)), PATIENCE)
        for each in owners[::50]:
            await node.carries_something(each)
        for each in owners[1:]:
            node.subscriber.unsubscribe(each)
        await node.falls_silent(owners[1], witness=owners[0])

    async def test_what_arrives_is_handed_over_on_the_loop_s_own_thread(self, node: Node) -> None:
        ann = owner()
        await node.subscriber.subscribe(ann)
        await node.carries_something(ann)
        assert node.threads == {threading.get_ident()}

    async def test_publishing_for_nobody_is_harmless(self, node: Node) -> None:
        for seq in range(1000):
            node.publisher.publish(owner(), seq, b"for nobody")
        ann = owner()
        await node.subscriber.subscribe(ann)
        await node.carries_something(ann)

    async def test_the_end(self, node: Node) -> None:
        ann = owner()
        await node.subscriber.subscribe(ann)
        await node.carries_something(ann)
        for bus in (node.publisher, node.subscriber):
            await asyncio.wait_for(bus.close(), PATIENCE)
            await asyncio.wait_for(bus.close(), PATIENCE)
        node.arrived.clear()
        node.publisher.publish(ann, 1, b"late")
        node.subscriber.unsubscribe(ann)
        await asyncio.sleep(0.02)
        assert node.arrived == []


class TestLocalBus:
    """It promises more: at once, each once, in order."""

    async def test_at_once_each_once_and_in_order(self) -> None:
        bus, arrived = LocalBus(), list[tuple[UserId, int, bytes]]()
        bus.attach(lambda *push: arrived.append(push))
        ann, bob, eve = owner(), owner(), owner()
        for each in (ann, bob, ann):
            await bus.subscribe(each)
        published = [(each, seq, b"%d" % seq) for seq in range(100) for each in (ann, bob, eve)]
        for count, push in enumerate(published, 1):
            bus.publish(*push)
            assert arrived == [push for push in published[:count] if push[0] != eve]

    async def test_nothing_after_unsubscribe_or_close(self) -> None:
        bus, arrived = LocalBus(), list[tuple[UserId, int, bytes]]()
        bus.attach(lambda *push: arrived.append(push))
        ann, bob = owner(), owner()
        for each in (ann, bob):
            await bus.subscribe(each)
        bus.unsubscribe(ann)
        bus.publish(ann, 1, b"")
        await bus.close()
        bus.publish(bob, 1, b"")
        assert arrived == []
