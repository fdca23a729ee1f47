"""Sending and receiving: what is allowed, what is answered, and in which order."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from functools import partial

import pytest

from parley.bus.local import LocalBus
from parley.chat.batching import LoopTurn
from parley.chat.delivery import Delivery
from parley.chat.ports import Page
from parley.chat.receipts import Receipts
from parley.chat.service import ChatService, Draft, Hooks, Limits, ReceivedMark
from parley.errors import ChatError, ErrorCode
from parley.model import Chat, ChatId, UserId

from . import ALICE, BOB, CAROL, NOW, PATIENCE, FakeClock, FaultyStore, Screen, until

UNKNOWN = "0f9c1b2a-3d4e-4f5a-8b6c-7d8e9f0a1b2c"


class Desk:
    """A service, and what those who asked it were told."""

    def __init__(self, store: FaultyStore, queue_max: int = 100) -> None:
        self.store = store
        self.clock = FakeClock()
        self.commits: list[int] = []
        bus = LocalBus()
        self.delivery = Delivery(store, bus, lambda chat: chat.message.encode())
        self.receipts = Receipts(store, bus, lambda delivered: delivered.chatId.encode())
        self.service = ChatService(
            store,
            self.delivery,
            self.receipts,
            self.clock,
            Limits(message_max_length=20, queue_max=queue_max),
            Hooks(LoopTurn(), lambda size, seconds: self.commits.append(size)),
        )
        self.answers: list[tuple[str, Chat | ChatId | ErrorCode]] = []
        """What done was called with, in that order, and for which request."""

    def send(
        self, message: str, to: str = BOB, by: UserId = ALICE, chosen: str | None = None
    ) -> int:
        return self.service.send(by, Draft(to, message, chosen), partial(self.done, message))

    def receive(self, chat_id: str, by: UserId = BOB) -> None:
        self.service.receive(by, ReceivedMark(chat_id), partial(self.done, chat_id))

    def done(self, request: str, answer: Chat | ChatId | ChatError) -> None:
        self.answers.append((request, answer.code if isinstance(answer, ChatError) else answer))

    async def answered(self, count: int) -> list[Chat | ChatId | ErrorCode]:
        await until(lambda: len(self.answers) >= count)
        assert len(self.answers) == count
        return [answer for _, answer in self.answers]

    async def sent(self, message: str, to: str = BOB, by: UserId = ALICE) -> Chat:
        """Send, where nothing stands against it."""
        count = len(self.answers) + 1
        self.send(message, to, by)
        chat = (await self.answered(count))[-1]
        assert isinstance(chat, Chat)
        return chat

    async def inbox(self, owner: UserId) -> list[Chat]:
        return [entry.chat for entry in await self.store.real.entries(owner, 0, 1000)]

    async def unreceived(self, owner: UserId) -> list[Chat]:
        return [entry.chat for entry in await self.store.real.unreceived(owner, Page(1000))]


@pytest.fixture
async def desk(store: FaultyStore) -> AsyncIterator[Desk]:
    desk = Desk(store)
    yield desk
    await asyncio.wait_for(desk.service.close(), PATIENCE)
    await desk.delivery.shut_down()


# Sending


async def test_send(desk: Desk) -> None:
    chat = await desk.sent("hello")
    assert chat == Chat(chat.id, ALICE, BOB, "hello", int(NOW * 1000), received=False)
    assert uuid.UUID(chat.id).version == 7
    assert await desk.inbox(BOB) == [chat]
    assert await desk.inbox(ALICE) == []
    assert desk.commits == [1]
    assert desk.service.stats.chats_stored == 1


async def test_send_to_oneself(desk: Desk) -> None:
    chat = await desk.sent("note", to=ALICE)
    assert await desk.inbox(ALICE) == [chat]


async def test_the_time_is_the_clock_s(desk: Desk) -> None:
    desk.clock.time = 1_234_567_890.9876
    assert (await desk.sent("hello")).createdAt == 1_234_567_890_987


@pytest.mark.parametrize("spelling", [BOB, BOB.upper()])
async def test_the_receiver_is_kept_in_canonical_form(desk: Desk, spelling: str) -> None:
    assert (await desk.sent("hello", to=spelling)).receiver == BOB


@pytest.mark.parametrize("text", ["x", " ", "\n", "x" * 20, "😀" * 20, "\x01", "é\u0301", "\ufeff"])
async def test_texts_that_are_kept_as_they_are(desk: Desk, text: str) -> None:
    assert (await desk.sent(text)).message == text
    assert [chat.message for chat in await desk.inbox(BOB)] == [text]


@pytest.mark.parametrize("text", ["", "x" * 21, "😀" * 21, "\0", "a\0b"])
async def test_texts_that_are_refused(desk: Desk, text: str) -> None:
    with pytest.raises(ChatError, match="message") as caught:
        desk.send(text)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    assert not caught.value.retryable
    assert desk.service.waiting == 0


@pytest.mark.parametrize("receiver", ["", "bob", BOB[:-1], BOB + " ", BOB.replace("-", "")])
async def test_receivers_that_are_refused(desk: Desk, receiver: str) -> None:
    with pytest.raises(ChatError, match="receiver") as caught:
        desk.send("hello", to=receiver)
    assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("chosen", ["", "1", UNKNOWN[:-1]])
async def test_chosen_ids_that_are_refused(desk: Desk, chosen: str) -> None:
    with pytest.raises(ChatError, match="id") as caught:
        desk.send("hello", chosen=chosen)
    assert caught.value.code is ErrorCode.BAD_REQUEST


async def test_what_is_refused_is_not_answered_too(desk: Desk) -> None:
    with pytest.raises(ChatError):
        desk.send("")
    with pytest.raises(ChatError):
        desk.receive("")
    await desk.sent("hello")
    assert [request for request, _ in desk.answers] == ["hello"]


# Chosen ids


@pytest.mark.parametrize("together", [True, False])
async def test_sending_again_with_the_same_id_stores_once(desk: Desk, together: bool) -> None:
    for count in (1, 2, 3):
        desk.send("hello", chosen=UNKNOWN.upper())
        if not together:
            await desk.answered(count)
    first, second, third = await desk.answered(3)
    assert first == second == third
    assert isinstance(first, Chat)
    assert first.id == UNKNOWN
    assert await desk.inbox(BOB) == [first]
    assert desk.service.stats.chats_stored == 1


async def test_sending_again_is_not_pushed_again(desk: Desk) -> None:
    seen: list[bytes] = []
    desk.delivery.attach(await desk.delivery.open(BOB), Screen(seen.append))
    for count in (1, 2):
        desk.send("hello", chosen=UNKNOWN)
        await desk.answered(count)
    assert seen == [b"hello"]


@pytest.mark.parametrize(("text", "by"), [("other", ALICE), ("hello", CAROL)])
async def test_an_id_of_another_chat_is_taken(desk: Desk, text: str, by: UserId) -> None:
    desk.send("hello", chosen=UNKNOWN)
    desk.send(text, BOB, by, chosen=UNKNOWN)
    desk.send("after")
    first, second, third = await desk.answered(3)
    assert isinstance(first, Chat)
    assert isinstance(third, Chat)
    assert second is ErrorCode.ID_TAKEN
    assert await desk.inbox(BOB) == [first, third]


async def test_an_id_is_free_in_another_inbox(desk: Desk) -> None:
    for receiver in (BOB, CAROL):
        desk.send("hello", receiver, chosen=UNKNOWN)
    first, second = await desk.answered(2)
    assert await desk.inbox(BOB) == [first]
    assert await desk.inbox(CAROL) == [second]


# Receipts


async def test_receive(desk: Desk) -> None:
    one, two = await desk.sent("one"), await desk.sent("two")
    desk.receive(one.id.upper())
    assert (await desk.answered(3))[-1] == one.id
    assert await desk.unreceived(BOB) == [two]
    desk.receive(one.id)
    assert (await desk.answered(4))[-1] == one.id
    assert desk.service.stats.marked_received == 2


async def test_only_the_receiver_may_and_cannot_tell_why_not(desk: Desk) -> None:
    chat = await desk.sent("hello")
    answers: list[object] = []
    for chat_id, by in ((chat.id, ALICE), (chat.id, CAROL), (ChatId(UNKNOWN), BOB)):
        desk.service.receive(by, ReceivedMark(chat_id), answers.append)
    await until(lambda: len(answers) == 3)
    texts = {(a.code, a.message, a.retryable) for a in answers if isinstance(a, ChatError)}
    assert [type(answer) for answer in answers] == [ChatError] * 3
    assert len(texts) == 1
    assert next(iter(texts))[0] is ErrorCode.NOT_FOUND
    assert await desk.unreceived(BOB) == [chat]
    assert desk.service.stats.marked_received == 0


@pytest.mark.parametrize("chat_id", ["", "1", UNKNOWN[:-1], UNKNOWN + "\n"])
async def test_ids_of_chats_that_are_refused(desk: Desk, chat_id: str) -> None:
    with pytest.raises(ChatError, match="chatId") as caught:
        desk.receive(chat_id)
    assert caught.value.code is ErrorCode.BAD_REQUEST


async def test_a_receipt_may_follow_its_chat_at_once(desk: Desk) -> None:
    desk.send("hello", chosen=UNKNOWN)
    desk.receive(UNKNOWN)
    await desk.answered(2)
    assert desk.commits == [2]
    assert await desk.unreceived(BOB) == []


async def test_the_sender_is_told_of_the_first_receipt_before_it_is_answered(desk: Desk) -> None:
    events: list[str] = []
    await desk.delivery.open(ALICE)
    desk.receipts.follow(ALICE, Screen(lambda packet: events.append(f"told {packet.decode()}")))
    for sender, receiver in ((ALICE, BOB), (ALICE, ALICE), (CAROL, BOB)):
        chat = await desk.sent("hello", receiver, sender)
        for _ in range(2):
            desk.service.receive(receiver, ReceivedMark(chat.id), lambda a: events.append("answer"))
        await until(lambda: events.count("answer") == 2)
        told = [f"told {chat.id}"] if sender == ALICE else []
        assert events == [*told, "answer", "answer"]
        events.clear()


async def test_the_sender_is_not_told_of_what_is_not_marked(desk: Desk) -> None:
    told: list[bytes] = []
    await desk.delivery.open(ALICE)
    desk.receipts.follow(ALICE, Screen(told.append))
    chat = await desk.sent("hello")
    desk.receive(chat.id, by=CAROL)
    assert (await desk.answered(2))[-1] is ErrorCode.NOT_FOUND
    desk.store.away = True
    desk.receive(chat.id)
    assert (await desk.answered(3))[-1] is ErrorCode.STORE_UNAVAILABLE
    assert told == []


# Order, and group commit


async def test_everything_is_answered_once_and_in_order(desk: Desk) -> None:
    desk.store.hold("commit")
    desk.send("first")
    await until(lambda: desk.store.calls["commit"])
    requests = ["first"]
    for number in range(50):
        requests.append(f"text {number}")
        desk.send(requests[-1], to=(BOB, CAROL)[number % 2], by=(ALICE, BOB)[number % 3 % 2])
        if number % 5 == 0:
            requests.append(UNKNOWN)
            desk.receive(UNKNOWN)
    assert desk.service.waiting == len(requests) - 1
    desk.store.let_go("commit")
    await desk.answered(len(requests))
    assert [request for request, _ in desk.answers] == requests
    assert desk.commits == [1, len(requests) - 1]
    for owner in (BOB, CAROL):
        expected = [a for _, a in desk.answers if isinstance(a, Chat) and a.receiver == owner]
        assert await desk.inbox(owner) == expected
    assert desk.service.waiting == 0


async def test_the_receiver_is_pushed_to_after_the_commit_and_before_the_answer(
    desk: Desk,
) -> None:
    events: list[str] = []
    inbox = await desk.delivery.open(BOB)
    desk.delivery.attach(inbox, Screen(lambda packet: events.append(f"pushed {packet.decode()}")))
    desk.store.hold("commit")
    for text in ("one", "two"):
        desk.service.send(ALICE, Draft(BOB, text), lambda answer: events.append("answered"))
    await until(lambda: desk.store.calls["commit"])
    assert events == []
    desk.store.let_go("commit")
    await until(lambda: len(events) == 4)
    assert events == ["pushed one", "answered", "pushed two", "answered"]


# Trouble


async def test_while_the_store_is_away(desk: Desk) -> None:
    seen: list[bytes] = []
    desk.delivery.attach(await desk.delivery.open(BOB), Screen(seen.append))
    desk.store.away = True
    errors: list[object] = []
    desk.service.send(ALICE, Draft(BOB, "lost"), errors.append)
    desk.service.receive(BOB, ReceivedMark(UNKNOWN), errors.append)
    await until(lambda: len(errors) == 2)
    for error in errors:
        assert isinstance(error, ChatError)
        assert error.code is ErrorCode.STORE_UNAVAILABLE
        assert error.retryable
    assert seen == []
    desk.store.away = False
    chat = await desk.sent("again")
    assert seen == [b"again"]
    assert await desk.inbox(BOB) == [chat]
    assert desk.service.stats.chats_stored == 1


async def test_more_than_may_wait(store: FaultyStore) -> None:
    desk = Desk(store, queue_max=2)
    store.hold("commit")
    desk.send("under way")
    await until(lambda: store.calls["commit"])
    for text in ("one", "two", "three"):
        desk.send(text)
    desk.receive(UNKNOWN)
    assert desk.answers == [("three", ErrorCode.OVERLOADED), (UNKNOWN, ErrorCode.OVERLOADED)]
    store.let_go("commit")
    await desk.answered(5)
    assert [chat.message for chat in await desk.inbox(BOB)] == ["under way", "one", "two"]
    await desk.service.close()


async def test_close_stores_what_was_accepted_and_refuses_more(desk: Desk) -> None:
    for number in range(5):
        desk.send(str(number))
    await asyncio.wait_for(desk.service.close(), PATIENCE)
    desk.send("late")
    answers = await desk.answered(6)
    assert answers[-1] is ErrorCode.STORE_UNAVAILABLE
    assert await desk.inbox(BOB) == answers[:-1]


async def test_settled_when_all_that_was_asked_for_before_is_stored(desk: Desk) -> None:
    marks = [desk.send(str(number)) for number in range(5)]
    await asyncio.wait_for(desk.service.settled(marks[-1]), PATIENCE)
    assert await desk.inbox(BOB) == await desk.answered(5)
