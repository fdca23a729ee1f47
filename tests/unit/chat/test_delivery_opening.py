"""Delivery: getting ready for a user, and what is left when that comes to nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest

from parley.chat.inbox import Inbox
from parley.errors import ChatError, ErrorCode
from parley.model import UserId

from . import ALICE, BOB, PATIENCE, FaultyStore, Node, Screen, settle, until, user


@pytest.fixture
async def node(store: FaultyStore) -> AsyncIterator[Node]:
    node = Node(store)
    yield node
    await asyncio.wait_for(node.delivery.shut_down(), PATIENCE)


async def test_many_users_are_asked_for_at_once(node: Node) -> None:
    owners = [user(number) for number in range(200)]
    inboxes = await asyncio.gather(*map(node.delivery.open, owners))
    assert node.delivery.users == 200
    assert node.store.calls["heads"] < 10
    for inbox in inboxes:
        node.delivery.close(inbox)
    node.assert_idle()


async def test_concurrent_opens_of_one_user_share_an_inbox(node: Node) -> None:
    node.store.hold("heads")
    opening = [asyncio.create_task(node.delivery.open(BOB)) for _ in range(3)]
    await until(lambda: node.store.calls["heads"])
    assert node.delivery.users == 1
    assert not any(task.done() for task in opening)
    node.store.let_go("heads")
    inboxes = await asyncio.wait_for(asyncio.gather(*opening), PATIENCE)
    assert inboxes == [inboxes[0]] * 3
    assert node.store.calls["heads"] == 1
    for inbox in inboxes[:2]:
        node.delivery.close(inbox)
    assert (node.delivery.users, node.bus.subscribed) == (1, {BOB})
    node.delivery.close(inboxes[2])
    node.assert_idle()


async def test_a_user_has_so_many_devices_and_no_more(store: FaultyStore) -> None:
    node = Node(store, max_devices=2)
    outcomes = await asyncio.gather(
        *(node.delivery.open(BOB) for _ in range(3)), return_exceptions=True
    )
    inbox, other, refusal = outcomes
    assert isinstance(inbox, Inbox)
    assert inbox is other
    assert isinstance(refusal, ChatError)
    assert refusal.code is ErrorCode.TOO_MANY_CONNECTIONS
    await node.delivery.open(ALICE)
    assert await node.delivery.open(BOB, moved=True) is inbox, "it had been let in elsewhere"

    for _ in range(2):
        node.delivery.close(inbox)
    assert await node.delivery.open(BOB) is inbox
    await node.delivery.shut_down()


async def test_the_store_is_away_at_open(node: Node) -> None:
    node.store.away = True
    with pytest.raises(ChatError) as caught:
        await node.delivery.open(BOB)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert caught.value.retryable
    node.assert_idle()
    node.store.away = False
    seen = await node.device(BOB)
    await node.send(BOB)
    assert seen == [1]


async def test_the_store_is_away_at_concurrent_opens(node: Node) -> None:
    node.store.hold("heads")
    opening = [asyncio.create_task(node.delivery.open(BOB)) for _ in range(3)]
    await settle()
    node.store.away = True
    node.store.let_go("heads")
    outcomes = await asyncio.wait_for(asyncio.gather(*opening, return_exceptions=True), PATIENCE)
    assert [type(outcome) for outcome in outcomes] == [ChatError] * 3
    node.assert_idle()


def heads_held(node: Node) -> Callable[[], None]:
    node.store.hold("heads")
    return lambda: node.store.let_go("heads")


def subscribe_held(node: Node) -> Callable[[], None]:
    node.bus.ready.clear()
    return node.bus.ready.set


@pytest.mark.parametrize("hold", [heads_held, subscribe_held])
async def test_an_open_that_is_cancelled_midway(
    node: Node, hold: Callable[[Node], Callable[[], None]]
) -> None:
    let_go = hold(node)
    opening = asyncio.create_task(node.delivery.open(BOB))
    await settle()
    assert node.delivery.users == 1
    # The head is read last, so that all that comes behind it is heard.
    assert node.store.calls["heads"] == (hold is heads_held)
    opening.cancel()
    await asyncio.wait((opening,), timeout=PATIENCE)
    assert opening.cancelled()
    node.assert_idle()
    let_go()
    seen = await node.device(BOB)
    await node.send(BOB)
    assert seen == [1]


@pytest.mark.parametrize("hold", [heads_held, subscribe_held])
@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_one_of_several_opens_is_cancelled(
    node: Node, hold: Callable[[Node], Callable[[], None]], cancelled: int
) -> None:
    let_go = hold(node)
    opening = [asyncio.create_task(node.delivery.open(BOB)) for _ in range(3)]
    await settle()
    opening.pop(cancelled).cancel()
    await settle()
    assert node.delivery.users == 1
    let_go()
    inboxes = await asyncio.wait_for(asyncio.gather(*opening), PATIENCE)
    seen: list[bytes] = []
    device = Screen(seen.append)
    node.delivery.attach(inboxes[0], device)
    await node.send(BOB)
    assert seen == [b"1"]
    node.delivery.detach(inboxes[0], device)
    for inbox in inboxes:
        node.delivery.close(inbox)
    node.assert_idle()


class InstantHeads(FaultyStore):
    """Answers within the turn, so that turns can be counted."""

    async def heads(self, owners: Sequence[UserId]) -> Mapping[UserId, int]:
        return dict.fromkeys(owners, 0)


@pytest.mark.parametrize("turns", range(12))
async def test_an_open_that_is_cancelled_in_any_turn(store: FaultyStore, turns: int) -> None:
    node = Node(InstantHeads(store.real))
    opening = asyncio.create_task(node.delivery.open(BOB))
    await settle(turns)
    opening.cancel()
    await asyncio.wait((opening,), timeout=PATIENCE)
    if not opening.cancelled():
        node.delivery.close(opening.result())
    node.assert_idle()


class OldHeads(FaultyStore):
    """Reads the heads at once, and answers when it is let."""

    def __init__(self, real: FaultyStore) -> None:
        super().__init__(real.real)
        self.answer = asyncio.Event()

    async def heads(self, owners: Sequence[UserId]) -> Mapping[UserId, int]:
        heads = await super().heads(owners)
        await self.answer.wait()
        return heads


@pytest.mark.parametrize("lost", [[], [1], [2], [3], [1, 2, 3]])
async def test_what_is_sent_while_the_head_is_read(store: FaultyStore, lost: list[int]) -> None:
    """It may be pushed or not, but what is pushed has no gap."""
    late = OldHeads(store)
    node = Node(late)
    connecting = asyncio.create_task(node.device(BOB))
    await until(lambda: late.calls["heads"] and not late.under_way["heads"])
    await node.send(BOB, 3, lost=lost)
    late.answer.set()
    seen = await connecting
    if lost in ([1], [2]):  # a gap that is known of need not wait for the next push
        await until(lambda: seen and seen[-1] == 3)
    await node.send(BOB)
    await until(lambda: seen and seen[-1] == 4)
    assert seen == list(range(seen[0], 5))
    await node.delivery.shut_down()


async def test_shut_down_lets_an_open_under_way_finish(node: Node) -> None:
    node.store.hold("heads")
    opening = asyncio.create_task(node.delivery.open(BOB))
    await until(lambda: node.store.calls["heads"])
    ending = asyncio.create_task(node.delivery.shut_down())
    await settle()
    node.store.let_go("heads")
    await asyncio.wait_for(ending, PATIENCE)
    node.delivery.close(await asyncio.wait_for(opening, PATIENCE))
    with pytest.raises(ChatError):
        await node.delivery.open(ALICE)
    node.assert_idle()
