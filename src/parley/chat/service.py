"""What users can do: send a chat, and mark one received.

Both go through one group commit, so that everything that waits is stored in
one transaction, in the order in which it was asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn, TypeAlias

import msgspec

from parley.answer import Answer
from parley.chat.batching import Batcher, Turn
from parley.chat.delivery import Delivery
from parley.chat.ids import Uuid7, parse_uuid
from parley.chat.ports import Clock, Committed, IdTaken, Marked, NewChat, Receipt, Store, Stored
from parley.chat.receipts import Receipts
from parley.chat.replies import bad_request, not_found
from parley.errors import ChatError, ErrorCode
from parley.model import Chat, ChatId, UserId

MAX_BATCH: Final = 1_000
"""Requests of one transaction; more wait for the next."""

Request: TypeAlias = NewChat | Receipt
Outcome: TypeAlias = Stored | IdTaken | Marked | None


class ServiceStats:
    """Running totals, for whoever watches."""

    __slots__ = ("chats_stored", "marked_received")

    def __init__(self) -> None:
        self.chats_stored = 0
        self.marked_received = 0


class Draft(msgspec.Struct, frozen=True):
    """A chat as a client sends it."""

    receiver: str
    message: str
    id: str | None = None
    """A UUID chosen by the client, so that sending again can't store twice."""


class ReceivedMark(msgspec.Struct, frozen=True):
    """A client's word that it has received a chat."""

    chatId: str  # noqa: N815 - the wire's name


class Limits(msgspec.Struct, frozen=True):
    """Bounds of the service."""

    message_max_length: int
    """Characters."""
    queue_max: int
    """Requests that may wait to be stored."""


class Hooks(msgspec.Struct, frozen=True):
    """What the service lets its surroundings do around a commit."""

    turn: Turn
    """Entered while everything that a commit causes is done; says when to begin one."""
    on_commit: Callable[[int, float], None]
    """Told the size of each committed batch and the seconds that it took."""


class ChatService:
    """The rules of sending and receiving."""

    def __init__(
        self,
        store: Store,
        delivery: Delivery,
        receipts: Receipts,
        clock: Clock,
        limits: Limits,
        hooks: Hooks,
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._receipts = receipts
        self._clock = clock
        self._new_id = Uuid7()
        self._message_max_length = limits.message_max_length
        self._batcher: Batcher[Request, Outcome] = Batcher(
            self._commit,
            max_batch=MAX_BATCH,
            max_waiting=limits.queue_max,
            turn=hooks.turn,
            caused=lambda: delivery.pushed,
        )
        self._on_commit = hooks.on_commit
        self.stats = ServiceStats()

    @property
    def waiting(self) -> int:
        """Requests that wait to be stored, besides those under way."""
        return len(self._batcher)

    def send(self, sender: UserId, draft: Draft, done: Callable[[Chat | ChatError], None]) -> int:
        """Store a chat and pass it on to its receiver; returns a mark for :meth:`settled`.

        ``done`` gets the stored chat after it is durable, and before the next
        send of the same sender; or the error.

        Raises:
            ChatError: BAD_REQUEST, and ``done`` is not called.
        """
        now = int(self._clock.now() * 1000)
        new = NewChat(
            ChatId(self._new_id(now) if draft.id is None else _chosen(draft.id)),
            sender,
            UserId(parse_uuid(draft.receiver) or _refuse("receiver must be the UUID of a user")),
            self._text(draft.message),
            now,
            draft.id is not None,
        )
        return self._batcher.submit(new, partial(self._sent, done))

    def receive(
        self, user: UserId, mark: ReceivedMark, done: Callable[[ChatId | ChatError], None]
    ) -> int:
        """Mark a chat received; only its receiver may, and may do so again.

        The first time its sender is told.  Returns a mark for :meth:`settled`.

        Raises:
            ChatError: BAD_REQUEST, and ``done`` is not called.
        """
        chat_id = ChatId(parse_uuid(mark.chatId) or _refuse("chatId must be the UUID of a chat"))
        receipt = Receipt(user, chat_id)
        return self._batcher.submit(receipt, partial(self._received, done, receipt))

    async def settled(self, mark: int) -> None:
        """Wait until what returned ``mark``, and all before it, has been stored or has failed."""
        await self._batcher.settled(mark)

    async def close(self) -> None:
        """Store what was accepted, then refuse more."""
        await self._batcher.close()

    # -- within

    def _commit(self, requests: Sequence[Request]) -> Answer[Sequence[Outcome]]:
        chats = [request for request in requests if isinstance(request, NewChat)]
        receipts = [request for request in requests if isinstance(request, Receipt)]
        began = time.perf_counter()
        answer = self._store.commit(chats, receipts)
        return answer.map(partial(self._committed, requests, began))

    def _committed(
        self, requests: Sequence[Request], began: float, committed: Committed
    ) -> Sequence[Outcome]:
        self._on_commit(len(requests), time.perf_counter() - began)
        if not committed.receipts:
            return committed.chats
        stored, marked = iter(committed.chats), iter(committed.receipts)
        return [
            next(stored) if isinstance(request, NewChat) else next(marked) for request in requests
        ]

    def _sent(self, done: Callable[[Chat | ChatError], None], outcome: Outcome | ChatError) -> None:
        if isinstance(outcome, Stored):
            if outcome.seq is not None:
                self.stats.chats_stored += 1
                self._delivery.publish(outcome.chat, outcome.seq)
            done(outcome.chat)
        elif isinstance(outcome, ChatError):
            done(outcome)
        else:
            problem = "id is taken by another chat: choose a new UUID for every chat"
            done(ChatError(ErrorCode.ID_TAKEN, problem))

    def _received(
        self,
        done: Callable[[ChatId | ChatError], None],
        receipt: Receipt,
        outcome: Outcome | ChatError,
    ) -> None:
        if isinstance(outcome, Marked):
            self.stats.marked_received += 1
            if outcome.sender is not None:
                self._receipts.tell(outcome.sender, receipt)
            done(receipt.chat_id)
        elif isinstance(outcome, ChatError):
            done(outcome)
        else:
            done(not_found())

    def _text(self, message: str) -> str:
        if not message:
            raise bad_request("message must not be empty")
        if len(message) > self._message_max_length:
            raise bad_request(f"message must have at most {self._message_max_length} characters")
        if "\0" in message:
            raise bad_request("message must not contain the NUL character")
        return message


def _chosen(text: str) -> str:
    return parse_uuid(text) or _refuse("id must be a UUID that you chose for the chat")


def _refuse(problem: str) -> NoReturn:
    raise bad_request(problem)
