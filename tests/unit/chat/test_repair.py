"""What the bus lost is found, whether something follows it or not; moved devices go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import pytest

from parley.chat import repair
from parley.chat.repair import Intervals
from parley.errors import StoreUnavailable

from . import (
    ALICE,
    BOB,
    PATIENCE,
    FaultyStore,
    Node,
    Screen,
    new_chat,
    settle,
    stored,
    until,
    user,
)

NEVER = 3600.0
SOON = 0.01

MakeNode: TypeAlias = Callable[[Intervals], Node]


@pytest.fixture
async def make_node(store: FaultyStore) -> AsyncIterator[MakeNode]:
    nodes: list[Node] = []

    def make(intervals: Intervals) -> Node:
        nodes.append(Node(store, intervals))
        return nodes[-1]

    yield make
    for node in nodes:
        await asyncio.wait_for(node.delivery.shut_down(), PATIENCE)


# Nothing follows what was lost


async def test_a_lost_push_is_found_though_nothing_follows_it(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=SOON, away=NEVER))
    seen, other = await node.device(BOB), await node.device(ALICE)
    await node.send(BOB, 3, lost=[1, 2, 3])
    await until(lambda: len(seen) == 3)
    assert seen == [1, 2, 3]
    assert other == []
    assert node.delivery.gaps_filled == 1


async def test_while_the_bus_is_away_it_is_looked_for_more_often(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER, away=SOON))
    seen = await node.device(BOB)
    node.bus.away = True
    await node.send(BOB, 2)
    await until(lambda: seen == [1, 2])


async def test_when_the_bus_is_back_it_is_looked_for_at_once(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER, away=NEVER))
    users = [user(number) for number in range(1200)]  # more than one page
    seen = [await node.device(each) for each in users]
    node.bus.away = True
    for each in users[::100]:
        await node.send(each, 2)
    node.bus.away = False
    node.bus.restored()
    await until(lambda: sum(map(len, seen)) == 24)
    assert [each for each in seen if each] == [[1, 2]] * 12


async def test_the_bus_may_come_back_again_and_again(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER, away=NEVER))
    seen = await node.device(BOB)
    for number in range(1, 6):
        await node.send(BOB, lost=[number])
        node.bus.restored()
        while len(seen) < number:  # noqa: ASYNC110 - it is told of no event
            await asyncio.sleep(0.001)


async def test_comparing_goes_on_when_the_store_was_away(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=SOON))
    seen = await node.device(BOB)
    node.store.away = True
    before = node.store.calls["heads"]
    await until(lambda: node.store.calls["heads"] > before + 2)
    node.store.away = False
    await node.send(BOB, lost=[1])
    await until(lambda: seen == [1])


async def test_nothing_is_asked_for_nobody(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=SOON))
    await asyncio.sleep(5 * SOON)
    assert node.store.calls["heads"] == 0


async def test_what_arrives_in_time_is_not_read(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repair, "GAP_WAIT", 3_600)
    node = make_node(Intervals(connected=SOON))
    seen = await node.device(BOB)
    [(chat, seq)] = await stored(node.store.real, new_chat(BOB, "1"))
    compared = node.store.calls["heads"]
    await until(lambda: node.store.calls["heads"] > compared + 1)  # it is known to be missing
    node.delivery.publish(chat, seq)
    assert seen == [1]
    assert node.delivery.gaps_filled == 0


async def test_for_a_while_after_the_bus_is_back(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER, away=SOON))
    seen = await node.device(BOB)
    node.bus.restored()  # here; the sender's node has it back a little later
    await until(lambda: node.store.calls["heads"] > 2)
    await node.send(BOB, lost=[1])
    await until(lambda: seen == [1])


# What does not exist


async def test_a_store_that_lost_what_was_pushed(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=SOON))
    seen = await node.device(BOB)
    await node.send(BOB, 2)
    for seq in range(3, 6):  # an older copy of the store takes over, without these
        node.bus.publish(BOB, seq, b"%d" % seq)
    assert seen == [1, 2, 3, 4, 5]
    before = node.store.calls["heads"]
    await until(lambda: node.store.calls["heads"] > before + 1)
    await node.send(BOB, 2)
    assert seen == [1, 2, 3, 4, 5, 3, 4]  # they are new messages


async def test_a_false_report_is_not_believed_for_long(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parley.chat.repair.RETRY_WAIT", 0.001)
    node = make_node(Intervals(connected=NEVER))
    seen = await node.device(BOB)
    inbox = await node.delivery.open(BOB)
    node.bus.publish(BOB, 2**62, b"forged")
    assert inbox.filling
    await until(lambda: not inbox.filling)
    assert not inbox.missing
    reads = node.store.calls["entries"]
    await node.send(BOB, 3, lost=[2])
    await until(lambda: len(seen) == 3)
    assert seen == [1, 2, 3]
    assert node.store.calls["entries"] == reads + 1


@pytest.mark.parametrize("turns", range(6))
async def test_it_ends_at_whatever_moment_the_bus_comes_back(
    store: FaultyStore, turns: int
) -> None:
    node = Node(store, Intervals(connected=NEVER, away=NEVER))
    await node.device(BOB)
    await settle()
    node.bus.restored()
    await settle(turns)
    await asyncio.wait_for(node.delivery.shut_down(), PATIENCE)


# A device that was served elsewhere


async def resume(node: Node, seen: int) -> list[int]:
    pushed: list[int] = []
    inbox = await node.delivery.open(BOB)
    device = node.delivery.resume(inbox, Screen(lambda packet: pushed.append(int(packet))), seen)
    await asyncio.wait_for(device, PATIENCE)
    return pushed


async def test_a_moved_device_gets_what_came_meanwhile(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER))
    await node.send(BOB, 500)
    seen = await resume(node, 3)
    assert seen == list(range(4, 501))
    await node.send(BOB)
    assert seen[-1] == 501


async def test_a_moved_device_that_has_seen_all(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER))
    await node.send(BOB, 2)
    seen = await resume(node, 2)
    await node.send(BOB, 2)
    assert seen == [3, 4]
    assert node.store.calls["entries"] == 0


async def test_a_moved_device_ahead_of_those_here_sees_nothing_twice(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER))
    here = await node.device(BOB)
    await node.send(BOB, 4, lost=[2, 3, 4])  # it has seen these where it was
    moved = await resume(node, 3)
    await node.send(BOB)
    await until(lambda: len(here) == 5)
    assert here == [1, 2, 3, 4, 5]
    assert moved == [4, 5]


async def test_a_moved_device_while_messages_go_on(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER))
    here = await node.device(BOB)
    await node.send(BOB, 100)

    async def go_on() -> None:
        for _ in range(50):
            await node.send(BOB, 2)

    talking = asyncio.create_task(go_on())
    moved = await resume(node, 10)
    await talking
    assert here == list(range(1, 201))
    assert moved == list(range(11, 201))


async def test_a_moved_device_while_the_store_is_away(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER))
    await node.send(BOB, 2)
    inbox = await node.delivery.open(BOB)
    node.store.away = True
    with pytest.raises(StoreUnavailable):
        await node.delivery.resume(inbox, Screen(), 1)
    assert inbox.devices == ()
    node.delivery.close(inbox)
    node.assert_idle()


async def test_a_moved_device_for_which_it_was_too_much_is_not_kept(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER))
    await node.send(BOB, 3)
    inbox = await node.delivery.open(BOB)
    slow = Screen(lambda packet: moving.cancel())  # as its socket does when it is closed
    moving = asyncio.create_task(node.delivery.resume(inbox, slow, 1))
    with pytest.raises(asyncio.CancelledError):
        await moving
    assert inbox.devices == ()
    node.delivery.close(inbox)
    node.assert_idle()


async def test_a_moved_device_that_claims_too_much(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER))
    await node.send(BOB, 2)
    inbox = await node.delivery.open(BOB)
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(node.delivery.resume(inbox, Screen(), 7), PATIENCE)


# Presence


async def test_presence_is_told_of_first_and_last_devices(make_node: MakeNode) -> None:
    node = make_node(Intervals(connected=NEVER))
    inbox = await node.delivery.open(BOB)
    assert node.presence.told == []
    devices = [Screen(), Screen()]
    for device in devices:
        node.delivery.attach(inbox, device)
    assert node.presence.told == [("joined", BOB)]
    for device in devices:
        node.delivery.detach(inbox, device)
        node.delivery.detach(inbox, device)
    assert node.presence.told == [("joined", BOB), ("left", BOB)]
    node.delivery.close(inbox)
    node.assert_idle()
    await stored(node.store, new_chat(BOB))
