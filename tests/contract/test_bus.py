"""What every Bus promises (see ``parley.chat.ports``), on every backend.

A bus may lose, repeat and reorder what it carries.  So here a push is sent
until it arrives, and nothing is said of how often or in which order it does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from parley.bus.local import LocalBus
from parley.model import UserId

from .buses import BUSES, PATIENCE, Ends, Node, eventually, owner


@pytest.fixture(params=BUSES)
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    async with BUSES[request.param](request) as opened:
        yield opened


@pytest.fixture
def node(ends: Ends) -> Node:
    return Node(ends)


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

    async def test_an_undisturbed_bus_is_connected(self, node: Node) -> None:
        assert node.publisher.connected
        assert node.subscriber.connected
        await node.subscriber.subscribe(owner())
        assert node.subscriber.connected
        assert node.restored == 0

    @pytest.mark.parametrize("packet", [b"", bytes(range(256)), b"x" * 500_000])
    async def test_notices_are_heard_as_they_were(self, node: Node, packet: bytes) -> None:
        ann = owner()
        await node.subscriber.subscribe(ann)
        node.listen()
        await node.notifies(ann, packet)
        assert set(node.heard) == {(ann, packet)}
        assert all(type(each) is bytes for _, each in node.heard)
        assert node.publisher.listened
        assert node.subscriber.listened
        assert node.threads == {threading.get_ident()}

    async def test_notices_and_pushes_are_not_confused(self, node: Node) -> None:
        ann = owner()
        await node.subscriber.subscribe(ann)
        node.listen()
        await node.notifies(ann)
        assert node.arrived == []
        node.heard.clear()
        await node.carries(ann, 1, b"push")
        await node.carries(ann, 2, b"another")
        assert {packet for _, packet in node.heard} <= {b"notice"}

    async def test_only_notices_for_subscribed_owners_are_heard(self, node: Node) -> None:
        ann, bob, eve = owner(), owner(), owner()
        for each in (ann, eve):
            await node.subscriber.subscribe(each)
        node.listen()
        await node.notifies(ann)
        node.subscriber.unsubscribe(eve)
        await node.falls_silent(eve, witness=ann)
        node.heard.clear()
        for _ in range(5):
            node.publisher.notify(bob, b"for Bob")
            node.publisher.notify(eve, b"for Eve")
            await node.carries_something(ann)
        assert {each for each, _ in node.heard} <= {ann}

    async def test_who_does_not_listen_any_more_hears_nothing(self, node: Node) -> None:
        ann = owner()
        await node.subscriber.subscribe(ann)
        node.publisher.notify(ann, b"too early")
        await node.carries_something(ann)
        node.listen()
        await node.notifies(ann)
        node.subscriber.listen(None)
        assert set(node.heard) == {(ann, b"notice")}
        node.heard.clear()
        for _ in range(5):
            node.publisher.notify(ann, b"too late")
            await node.carries_something(ann)
        assert node.heard == []
        node.listen()
        await node.notifies(ann)

    async def test_nobody_listens_at_first(self, node: Node) -> None:
        await node.subscriber.subscribe(owner())
        assert not node.publisher.listened
        assert not node.subscriber.listened
        node.subscriber.listen(None)
        assert not node.subscriber.listened

    async def test_revocations_are_announced_to_all_others(self, node: Node) -> None:
        alone = node.publisher is node.subscriber
        heard: list[str] = []
        node.publisher.on_revocations(lambda: heard.append("by whoever announced them"))
        if not alone:
            node.subscriber.on_revocations(lambda: heard.append("by another"))
        ann = owner()
        await node.subscriber.subscribe(ann)
        for _ in range(3):
            node.publisher.announce_revocations()
            await node.carries_something(ann)
        if alone:
            assert heard == []
        else:
            await eventually(lambda: bool(heard))
            assert set(heard) == {"by another"}

    async def test_the_end(self, node: Node) -> None:
        ann = owner()
        await node.subscriber.subscribe(ann)
        node.listen()
        await node.carries_something(ann)
        for bus in (node.publisher, node.subscriber):
            await asyncio.wait_for(bus.close(), PATIENCE)
            await asyncio.wait_for(bus.close(), PATIENCE)
        node.arrived.clear()
        node.publisher.publish(ann, 1, b"late")
        node.publisher.notify(ann, b"late")
        node.publisher.announce_revocations()
        node.subscriber.listen(None)
        node.listen()
        node.subscriber.unsubscribe(ann)
        await asyncio.sleep(0.02)
        assert node.arrived == []
        assert node.heard == []


class TestLocalBus:
    """It promises more: at once, each once, in order."""

    async def test_at_once_each_once_and_in_order(self) -> None:
        bus, arrived = LocalBus(), list[tuple[UserId, int, bytes]]()
        bus.attach(lambda *push: arrived.append(push), lambda: None)
        ann, bob, eve = owner(), owner(), owner()
        for each in (ann, bob, ann):
            await bus.subscribe(each)
        published = [(each, seq, b"%d" % seq) for seq in range(100) for each in (ann, bob, eve)]
        for count, push in enumerate(published, 1):
            bus.publish(*push)
            assert arrived == [push for push in published[:count] if push[0] != eve]

    async def test_nothing_after_unsubscribe_or_close(self) -> None:
        bus, arrived = LocalBus(), list[tuple[UserId, int, bytes]]()
        bus.attach(lambda *push: arrived.append(push), lambda: None)
        ann, bob = owner(), owner()
        for each in (ann, bob):
            await bus.subscribe(each)
        bus.unsubscribe(ann)
        bus.publish(ann, 1, b"")
        await bus.close()
        bus.publish(bob, 1, b"")
        assert arrived == []
