"""A client that stays connected, and neither loses nor doubles what is written meanwhile.

Messages go out one by one, each with an id chosen here: sent again after a
failure, they are stored once and in the order in which they were written.
What comes is shown once and marked received, again after a failure.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from itertools import islice
from typing import Any, Final, NoReturn, Protocol, TypeVar
from uuid import uuid4

import msgspec

from parley.model import Chat, ChatId, UserId
from parley.terminal.connection import Connection, endpoint, open_connection, read, read_failure
from parley.terminal.errors import Failure, Lost, RequestFailed
from parley.terminal.outbox import Outbox

T = TypeVar("T")

_PAGE: Final = 100
_MAX_ASKED: Final = 100
"""Ids of one `delivery` request."""
_REMEMBERED: Final = 10_000
"""Chats whose ids are kept, of those that came and of those that were sent."""
_SHORTEST: Final = 0.5
_LONGEST: Final = 10.0
"""Seconds between two attempts to connect; half as long at times, so that not all come at once."""


class Draft(msgspec.Struct, frozen=True):
    """A message that is to be stored, as it goes over the wire."""

    id: ChatId
    receiver: UserId
    message: str


class Listener(Protocol):
    """Whoever shows what happens; called from the event loop."""

    def connected(self) -> None:
        """The server has let us in."""

    def disconnected(self, why: str) -> None:
        """There is no connection; the client tries again by itself."""

    def stored(self, draft: Draft) -> None:
        """The server has it on disk; in the order in which drafts were written."""

    def postponed(self, failure: Failure) -> None:
        """The server can't store the oldest draft now; it is sent again by itself."""

    def failed(self, draft: Draft, failure: Failure) -> None:
        """The server will never take it."""

    def delivered(self, chat_ids: Sequence[ChatId]) -> None:
        """The receivers of these, which were stored before, have marked them received."""

    def came(self, chat: Chat) -> None:
        """A message for this user: each once, in the order of the user's inbox.

        It is marked received when this returns.
        """


class _Unreceived(msgspec.Struct, omit_defaults=True):
    limit: int
    after: ChatId | None = None


class _Received(msgspec.Struct, frozen=True):
    chatId: ChatId  # noqa: N815 - the wire's name


class Client:
    """One user at one server."""

    def __init__(
        self, url: str, token: Callable[[], str], listener: Listener, *, reads: bool = True
    ) -> None:
        """``token`` is asked for at every connection.  ``reads``: whether messages are taken.

        Raises:
            ClientError: ``url`` is none of a server.
        """
        self._address = endpoint(url)
        self._token = token
        self._listener = listener
        self._reads = reads
        self._drafts: Outbox[Draft] = Outbox()
        self._shown: Outbox[ChatId] = Outbox()
        """To be marked received."""
        self._seen: dict[ChatId, None] = {}
        self._undelivered: dict[ChatId, UserId] = {}
        """Stored for these receivers, and not known to be received."""
        self._early: ChatId | None = None
        """Received, and not known to be stored: this news may overtake the answer to the sender."""
        self._held: list[Chat] | None = None
        """What comes while older ones are being fetched."""

    @property
    def waiting(self) -> Sequence[Draft]:
        """What isn't known to be stored, in the order in which it was written."""
        return tuple(self._drafts)

    def send(self, receiver: UserId, message: str) -> Draft:
        """Have a message stored as soon as possible; its end is told to the listener."""
        # Halves of surrogate pairs, which bytes that aren't UTF-8 become, can't be sent.
        text = message.encode("utf-8", "replace").decode()
        draft = Draft(ChatId(str(uuid4())), receiver, text)
        self._drafts.add(draft)
        return draft

    async def settled(self) -> None:
        """Wait until all is stored that was sent, and all marked received that was shown."""
        await self._drafts.empty()
        await self._shown.empty()

    async def during(self, work: Coroutine[Any, Any, T], *, patient: bool) -> T:
        """Stay connected while ``work`` is done, and return what it returns.

        ``patient``: wait for a server that can't be reached at first, too.

        Raises:
            Refused: the server wants no connection; ``work`` is cancelled.
            Lost: the server can't be reached at first; so it is then, too.
        """
        running = asyncio.ensure_future(self._run(patient))
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait((running, working), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else running.result()
        finally:
            for task in (running, working):
                task.cancel()
            await asyncio.gather(running, working, return_exceptions=True)

    # -- the connection

    async def _run(self, patient: bool) -> NoReturn:
        failures = 0
        while True:
            try:
                auth = {"token": self._token(), "receipts": True}
                connection = await open_connection(self._address, auth)
            except Lost as lost:
                if not patient:
                    raise
                why = str(lost)
            else:
                patient, failures = True, 0
                why = await self._use(connection)
            self._listener.disconnected(why)
            await asyncio.sleep(min(_SHORTEST * 2**failures, _LONGEST) * random.uniform(0.5, 1))  # noqa: S311 - no secret
            failures = min(failures + 1, 10)

    async def _use(self, connection: Connection) -> str:
        """Do all that there is to do until the connection is lost; returns why it was."""
        why: list[str] = []
        self._listener.connected()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hear(connection))
                tasks.create_task(_work_off(self._drafts, self._store(connection)))
                if self._reads:
                    self._held = []
                    tasks.create_task(self._catch_up(connection))
                    tasks.create_task(_work_off(self._shown, self._confirm(connection)))
                    tasks.create_task(self._ask_delivered(connection))
        except* Lost as lost:
            why += map(str, lost.exceptions)
        finally:
            await connection.close()
        return why[0]

    async def _hear(self, connection: Connection) -> NoReturn:
        while True:
            event = await connection.next_event()
            if event.name == "message" and self._reads:
                chat = read(event.data, Chat)
                if self._held is None:
                    self._show(chat)
                else:
                    self._held.append(chat)
            elif event.name == "received":
                self._heard_of(read(event.data, _Received).chatId)
            elif event.name == "error":
                failure = read_failure(event.data)
                if failure.event is None:  # else whoever asked is answered, too
                    raise Lost(failure.message)

    # -- messages of this user's

    def _store(self, connection: Connection) -> Callable[[Draft], Awaitable[None]]:
        async def store(draft: Draft) -> None:
            try:
                chat = await connection.call("send message", draft, Chat)
            except RequestFailed as failed:
                if failed.failure.retryable:
                    self._listener.postponed(failed.failure)
                    raise
                self._drafts.done()
                self._listener.failed(draft, failed.failure)
                return
            self._drafts.done()
            _remember(self._undelivered, draft.id, draft.receiver)
            self._listener.stored(draft)
            if chat.received or self._early == draft.id:
                self._delivered([draft.id])

        return store

    async def _ask_delivered(self, connection: Connection) -> None:
        """Ask what has been received of what was stored before this connection."""
        receivers: dict[UserId, list[ChatId]] = {}
        for chat_id, receiver in self._undelivered.items():
            receivers.setdefault(receiver, []).append(chat_id)
        for receiver, chat_ids in receivers.items():
            for start in range(0, len(chat_ids), _MAX_ASKED):
                some = chat_ids[start : start + _MAX_ASKED]
                query = {"receiver": receiver, "chatIds": some}
                try:
                    self._delivered(await _ask(connection, "delivery", query, list[ChatId]))
                except RequestFailed:  # by an older server
                    return

    def _heard_of(self, chat_id: ChatId) -> None:
        """The server tells that it has been received."""
        if any(draft.id == chat_id for draft in islice(self._drafts, 1)):
            self._early = chat_id
        self._delivered([chat_id])

    def _delivered(self, chat_ids: Iterable[ChatId]) -> None:
        known = [each for each in chat_ids if self._undelivered.pop(each, None) is not None]
        if known:
            self._listener.delivered(known)

    # -- messages for this user

    async def _catch_up(self, connection: Connection) -> None:
        """Show what came before this connection, then what has come since."""
        query = _Unreceived(_PAGE)
        try:
            while chats := await _ask(connection, "unreceived messages", query, list[Chat]):
                for chat in chats:
                    self._show(chat)
                query = _Unreceived(_PAGE, after=chats[-1].id)
        except RequestFailed as failed:
            raise Lost(str(failed)) from failed
        held, self._held = self._held or [], None
        for chat in held:
            self._show(chat)

    def _show(self, chat: Chat) -> None:
        if chat.id not in self._seen:
            _remember(self._seen, chat.id, None)
            self._listener.came(chat)
        # If it was shown before, the server has not heard that it was.
        self._shown.add(chat.id)

    def _confirm(self, connection: Connection) -> Callable[[ChatId], Awaitable[None]]:
        async def mark(chat_id: ChatId) -> None:
            try:
                await connection.call("receive message", {"chatId": chat_id}, object)
            except RequestFailed as failed:
                if failed.failure.retryable:
                    raise

        async def confirm(first: ChatId) -> None:
            """Mark the first one and those that wait behind it, which are stored as one."""
            some = list(islice(self._shown, _PAGE))
            await asyncio.gather(*map(mark, some))
            for _ in some:
                self._shown.done()

        return confirm


async def _ask(connection: Connection, event: str, query: object, answer: type[T]) -> T:
    """As :meth:`Connection.call`; what the server can't do now is asked for again."""
    while True:
        try:
            return await connection.call(event, query, answer)
        except RequestFailed as failed:
            if not failed.failure.retryable:
                raise
            await asyncio.sleep(failed.failure.retry_after / 1000)


async def _work_off(outbox: Outbox[T], do: Callable[[T], Awaitable[None]]) -> NoReturn:
    """Do what waits, the oldest first; what the server can't do now is tried again."""
    while True:
        item = await outbox.first()
        try:
            await do(item)
        except RequestFailed as failed:
            await asyncio.sleep(failed.failure.retry_after / 1000)


def _remember(memory: dict[ChatId, T], chat_id: ChatId, value: T) -> None:
    memory[chat_id] = value
    if len(memory) > _REMEMBERED:
        del memory[next(iter(memory))]
