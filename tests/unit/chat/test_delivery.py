"""Delivery: what one user's devices see, whatever was lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from . import (
    ALICE,
    BOB,
    PATIENCE,
    FaultyStore,
    Node,
    Screen,
    new_chat,
    stored,
    until,
    user,
)


@pytest.fixture
async def node(store: FaultyStore) -> AsyncIterator[Node]:
    node = Node(store)
    yield node
    await asyncio.wait_for(node.delivery.shut_down(), PATIENCE)


# Pushing


async def test_every_device_of_the_receiver_gets_it_and_nobody_else(node: Node) -> None:
    one, two, other = await node.device(BOB), await node.device(BOB), await node.device(ALICE)
    await node.send(BOB, 2)
    await node.send(ALICE)
    assert one == two == [1, 2]
    assert other == [1]
    assert node.delivery.pushed == 5
    assert node.delivery.gaps_filled == 0


async def test_a_device_gets_what_is_sent_after_it_came(node: Node) -> None:
    await node.send(BOB, 3)
    assert node.delivery.pushed == 0
    early = await node.device(BOB)
    await node.send(BOB)
    late = await node.device(BOB)
    await node.send(BOB)
    assert (early, late) == ([4, 5], [5])


async def test_a_detached_device_gets_nothing_more(node: Node) -> None:
    inbox = await node.delivery.open(BOB)
    seen: list[bytes] = []
    device = Screen(seen.append)
    node.delivery.attach(inbox, device)
    await node.send(BOB)
    node.delivery.detach(inbox, device)
    node.delivery.detach(inbox, device)
    await node.send(BOB)
    node.delivery.close(inbox)
    assert seen == [b"1"]
    node.assert_idle()


async def test_a_slow_device_may_leave_by_its_push(node: Node) -> None:
    inbox = await node.delivery.open(BOB)

    def leave(packet: bytes) -> None:
        node.delivery.detach(inbox, device)
        node.delivery.close(inbox)

    device = Screen(leave)
    node.delivery.attach(inbox, device)
    other = await node.device(BOB)
    await node.send(BOB, 2)
    assert other == [1, 2]
    assert inbox.devices != ()
    assert node.delivery.users == 1


async def test_the_last_device_may_leave_by_its_push(node: Node) -> None:
    inbox = await node.delivery.open(BOB)

    def leave(packet: bytes) -> None:
        node.delivery.detach(inbox, device)
        node.delivery.close(inbox)

    device = Screen(leave)
    node.delivery.attach(inbox, device)
    await node.send(BOB, 2)
    node.assert_idle()


# Gaps


async def test_what_the_bus_lost_is_read_from_the_store(node: Node) -> None:
    seen, other = await node.device(BOB), await node.device(BOB)
    await node.send(BOB, 6, lost=[1, 3, 4])
    await until(lambda: len(seen) == 6)
    assert seen == other == [1, 2, 3, 4, 5, 6]
    assert node.delivery.gaps_filled >= 1


async def test_a_push_that_is_only_late_fills_its_gap(node: Node) -> None:
    seen = await node.device(BOB)
    chats = await stored(node.store, new_chat(BOB, "1"), new_chat(BOB, "2"))
    for chat, seq in reversed(chats):
        node.delivery.publish(chat, seq)
    assert seen == [1, 2]
    await asyncio.sleep(0.05)
    assert seen == [1, 2]
    assert node.delivery.gaps_filled == 0


async def test_a_large_gap_is_read_in_pages(node: Node) -> None:
    seen = await node.device(BOB)
    await node.send(BOB, 1000, lost=range(1, 1000))
    await until(lambda: len(seen) == 1000)
    assert seen == list(range(1, 1001))
    assert node.store.calls["entries"] == 5


async def test_a_gap_heals_when_the_store_is_back(node: Node) -> None:
    seen = await node.device(BOB)
    node.store.away = True
    await node.send(BOB, 3, lost=[2])
    await until(lambda: node.store.calls["entries"])
    await node.send(BOB)
    assert seen == [1]
    node.store.away = False
    await until(lambda: len(seen) == 4)
    assert seen == [1, 2, 3, 4]


async def test_a_push_may_come_before_the_store_shows_its_chat(node: Node) -> None:
    seen = await node.device(BOB)
    node.bus.publish(BOB, 2, b"2")
    await until(lambda: node.store.calls["entries"])
    assert seen == []
    await node.send(BOB, 2, lost=[1, 2])
    await until(lambda: len(seen) == 2)
    assert seen == [1, 2]


async def test_one_gap_is_filled_by_one(node: Node) -> None:
    seen = await node.device(BOB)
    node.store.hold("entries")
    await node.send(BOB, 2, lost=[1])
    await until(lambda: node.store.calls["entries"])
    await node.send(BOB, 50)
    await asyncio.sleep(0.05)
    assert node.store.under_way["entries"] == 1
    node.store.let_go("entries")
    await until(lambda: len(seen) == 52)


async def test_many_gaps_at_once(node: Node) -> None:
    owners = [user(number) for number in range(20)]
    seen = [await node.device(owner) for owner in owners]
    for owner in owners:
        await node.send(owner, 3, lost=[1, 2])
    await until(lambda: all(len(each) == 3 for each in seen))
    assert seen == [[1, 2, 3]] * 20


async def test_nobody_fills_for_those_who_have_gone(node: Node) -> None:
    inbox = await node.delivery.open(BOB)
    node.store.away = True
    await node.send(BOB, 2, lost=[1])
    await until(lambda: node.store.calls["entries"])
    node.delivery.close(inbox)
    await until(lambda: not inbox.filling)
    node.assert_idle()


async def test_shut_down_stops_what_is_under_way(node: Node) -> None:
    seen = await node.device(BOB)
    before = asyncio.all_tasks()
    node.store.hold("entries")
    await node.send(BOB, 2, lost=[1])
    await until(lambda: node.store.calls["entries"])
    await asyncio.wait_for(node.delivery.shut_down(), PATIENCE)
    assert asyncio.all_tasks() == before
    assert seen == []
