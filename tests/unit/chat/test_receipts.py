"""Delivery marks: who is told of a receipt, and what is answered to those who ask."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from parley.chat.ports import Receipt
from parley.chat.receipts import Delivered, DeliveryQuestion, Receipts
from parley.errors import ChatError, ErrorCode
from parley.model import ChatId, UserId

from . import ALICE, BOB, CAROL, FaultyStore, HeldBus, Screen, new_chat, stored

UNKNOWN = ChatId("0f9c1b2a-3d4e-4f5a-8b6c-7d8e9f0a1b2c")


class Post:
    """Those who follow what becomes of their chats, and what they are told."""

    def __init__(self, store: FaultyStore) -> None:
        self.store = store
        self.bus = HeldBus()
        self.encoded = 0
        self.receipts = Receipts(store, self.bus, self._encode)

    def _encode(self, delivered: Delivered) -> bytes:
        self.encoded += 1
        return f"{delivered.chatId} to {delivered.receiver}".encode()

    async def device(self, user: UserId) -> tuple[Screen, list[str]]:
        """A device that follows, and what it is told."""
        told: list[str] = []
        screen = Screen(lambda packet: told.append(packet.decode()))
        await self.bus.subscribe(user)
        self.receipts.follow(user, screen)
        return screen, told

    async def sent(self, count: int, to: UserId = BOB, by: UserId = ALICE) -> list[ChatId]:
        """So many chats are stored; their ids."""
        chats = [new_chat(to, "hi", by) for _ in range(count)]
        return [chat.id for chat, _ in await stored(self.store.real, *chats)]

    async def marked(self, chat_ids: Sequence[ChatId], by: UserId = BOB) -> None:
        outcome = await self.store.real.commit([], [Receipt(by, each) for each in chat_ids])
        assert all(outcome.receipts)

    async def asked(
        self, chat_ids: Sequence[str], of: str = BOB, by: UserId = ALICE
    ) -> list[ChatId]:
        """What ``by`` is answered."""
        question = DeliveryQuestion(of, list(chat_ids))
        answer: list[ChatId] = json.loads(await self.receipts.delivered(by, question))
        return answer


@pytest.fixture
def post(store: FaultyStore) -> Post:
    return Post(store)


# Telling


async def test_every_device_of_the_sender_that_follows_is_told_and_nobody_else(post: Post) -> None:
    _, one = await post.device(ALICE)
    _, two = await post.device(ALICE)
    _, other = await post.device(BOB)
    post.receipts.tell(ALICE, Receipt(BOB, UNKNOWN))
    assert one == two == [f"{UNKNOWN} to {BOB}"]
    assert other == []
    assert (post.encoded, post.receipts.pushed) == (1, 2)


async def test_a_user_may_send_to_oneself(post: Post) -> None:
    _, told = await post.device(ALICE)
    post.receipts.tell(ALICE, Receipt(ALICE, UNKNOWN))
    assert told == [f"{UNKNOWN} to {ALICE}"]


async def test_nothing_is_done_while_nobody_follows(post: Post) -> None:
    post.receipts.tell(ALICE, Receipt(BOB, UNKNOWN))
    screen, told = await post.device(ALICE)
    post.receipts.unfollow(ALICE, screen)
    post.receipts.tell(ALICE, Receipt(BOB, UNKNOWN))
    assert told == []
    assert (post.encoded, post.bus.notices, post.bus.listened) == (0, 0, False)


async def test_who_does_not_follow_any_more_is_told_nothing(post: Post) -> None:
    screen, gone = await post.device(ALICE)
    _, here = await post.device(ALICE)
    for _ in range(2):  # again is harmless
        post.receipts.unfollow(ALICE, screen)
        post.receipts.unfollow(CAROL, screen)
    post.receipts.tell(ALICE, Receipt(BOB, UNKNOWN))
    assert (gone, here) == ([], [f"{UNKNOWN} to {BOB}"])


async def test_a_slow_device_may_leave_by_being_told(post: Post) -> None:
    slow = Screen(lambda packet: post.receipts.unfollow(ALICE, slow))
    await post.bus.subscribe(ALICE)
    post.receipts.follow(ALICE, slow)
    _, other = await post.device(ALICE)
    for _ in range(2):
        post.receipts.tell(ALICE, Receipt(BOB, UNKNOWN))
    assert len(other) == 2
    assert post.receipts.pushed == 3


async def test_what_the_bus_loses_can_be_asked_for(post: Post) -> None:
    _, told = await post.device(ALICE)
    ids = await post.sent(1)
    post.bus.away = True
    await post.marked(ids)
    post.receipts.tell(ALICE, Receipt(BOB, ids[0]))
    post.bus.away = False
    assert told == []
    assert await post.asked(ids) == ids


# Asking


async def test_the_answer_is_in_the_order_of_the_question(post: Post) -> None:
    ids = await post.sent(6)
    await post.marked(ids[::2])
    assert await post.asked(ids) == ids[::2]
    assert await post.asked(ids[::-1]) == [ids[4], ids[2], ids[0]]
    assert await post.asked([]) == []


async def test_ids_may_be_spelled_otherwise(post: Post) -> None:
    ids = await post.sent(1)
    await post.marked(ids)
    assert await post.asked([ids[0].upper()], BOB.upper()) == ids


async def test_what_is_unknown_not_mine_and_not_received_is_missing_alike(post: Post) -> None:
    [mine] = await post.sent(1)
    [other], [backward], [elsewhere] = (
        await post.sent(1, BOB, CAROL),
        await post.sent(1, ALICE, BOB),
        await post.sent(1, CAROL, ALICE),
    )
    for chat_id, receiver in ((other, BOB), (backward, ALICE), (elsewhere, CAROL)):
        await post.marked([chat_id], receiver)
    assert await post.asked([mine, other, backward, elsewhere, UNKNOWN]) == []
    assert await post.asked([elsewhere, mine], of=CAROL) == [elsewhere]


@pytest.mark.parametrize(
    ("receiver", "chat_ids", "field"),
    [
        ("", [], "receiver"),
        ("bob", [UNKNOWN], "receiver"),
        (BOB, [""], "chatIds"),
        (BOB, [UNKNOWN, UNKNOWN[:-1]], "chatIds"),
        (BOB, [UNKNOWN + "\n"], "chatIds"),
    ],
)
async def test_questions_that_are_refused(
    post: Post, receiver: str, chat_ids: list[str], field: str
) -> None:
    with pytest.raises(ChatError, match=field) as caught:
        await post.asked(chat_ids, receiver)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert post.store.calls["delivered"] == 0


async def test_while_the_store_is_away(post: Post) -> None:
    post.store.away = True
    with pytest.raises(ChatError) as caught:
        await post.asked([UNKNOWN])
    assert (caught.value.code, caught.value.retryable) == (ErrorCode.STORE_UNAVAILABLE, True)
