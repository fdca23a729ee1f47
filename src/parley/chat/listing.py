"""The lists of what was sent to a user, encoded as the wire wants them.

A list may be large.  It is read and encoded a page at a time, with a turn for
everyone else between, so that it stalls nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final, TypeAlias

import msgspec

from parley.chat.ids import parse_uuid
from parley.chat.ports import Page, Store
from parley.chat.replies import bad_request, not_found, store_unavailable
from parley.errors import StoreUnavailable
from parley.model import ChatId, InboxEntry, UserId

_PAGE: Final = 200
_MAX_LISTS: Final = 4
"""Lists that are made at a time; the others wait."""

_Read: TypeAlias = Callable[[UserId, Page], Awaitable[list[InboxEntry]]]
_Encoded: TypeAlias = list[tuple[UserId, bytes]]
"""Chats as JSON, each with its sender."""

_encode = msgspec.json.Encoder().encode


class Query(msgspec.Struct, frozen=True):
    """Which part of a list a client wants; everything is optional."""

    before: str | None = None
    """The id of a chat: only what was sent before it."""
    after: str | None = None
    """The id of a chat: only what was sent after it."""
    limit: int | None = None


class Listing:
    """Makes the lists."""

    def __init__(self, store: Store, *, max_chats: int, max_bytes: int) -> None:
        """A list has at most ``max_chats`` chats and about ``max_bytes`` of JSON."""
        self._store = store
        self._max_chats = max_chats
        self._max_bytes = max_bytes
        self._gate = asyncio.Semaphore(_MAX_LISTS)
        self._turns: dict[UserId, _Turn] = {}

    @property
    def under_way(self) -> int:
        """Users who wait for a list."""
        return len(self._turns)

    async def unreceived(self, user: UserId, query: Query) -> bytes:
        """A JSON array of chats that ``user`` hasn't marked received, the oldest first.

        If there are more than fit, the oldest of them.

        Raises:
            ChatError: BAD_REQUEST, NOT_FOUND or STORE_UNAVAILABLE.
        """
        async with self._turn(user):
            with _store_errors():
                page = await self._page(user, query)
                pages = [p async for p in self._walk(self._store.unreceived, user, page)]
        return b"[" + b",".join(chat for encoded in pages for _, chat in encoded) + b"]"

    async def all(self, user: UserId, query: Query) -> bytes:
        """A JSON object of everything sent to ``user``: by sender, the oldest first.

        If there is more than fits, the newest of it; with ``after`` alone, the
        oldest from there on.

        Raises:
            ChatError: BAD_REQUEST, NOT_FOUND or STORE_UNAVAILABLE.
        """
        async with self._turn(user):
            with _store_errors():
                page = await self._page(user, query)
                backward = page.before is not None or not page.after
                read = self._store.received_by
                pages = [p async for p in self._walk(read, user, page, backward=backward)]
        by_sender: dict[UserId, list[bytes]] = {}
        for encoded in reversed(pages) if backward else pages:
            for sender, chat in encoded:
                by_sender.setdefault(sender, []).append(chat)
            await asyncio.sleep(0)
        lists = (b'"%s":[%s]' % (s.encode(), b",".join(chats)) for s, chats in by_sender.items())
        return b"{" + b",".join(lists) + b"}"

    # -- within

    @contextlib.asynccontextmanager
    async def _turn(self, user: UserId) -> AsyncIterator[None]:
        """One list at a time for each user, so that nobody can take all the places."""
        turn = self._turns.setdefault(user, _Turn())
        turn.wanted += 1
        try:
            async with turn.lock, self._gate:
                yield
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[user]

    async def _walk(
        self, read: _Read, user: UserId, page: Page, *, backward: bool = False
    ) -> AsyncIterator[_Encoded]:
        """Read what a query wants in pages of bounded size, each in ``seq`` order."""
        left, room = page.limit, self._max_bytes
        after, before = page.after, page.before
        while left > 0 and room > 0:
            wanted = min(left, _PAGE)
            entries = await read(user, Page(wanted, after, before))
            encoded = [(entry.chat.sender, _encode(entry.chat)) for entry in entries]
            if encoded:
                yield encoded
            if len(entries) < wanted:
                return
            left -= len(entries)
            room -= sum(len(chat) for _, chat in encoded)
            if backward:
                before = entries[0].seq
            else:
                after = entries[-1].seq

    async def _page(self, user: UserId, query: Query) -> Page:
        limit = self._max_chats if query.limit is None else query.limit
        if limit < 1:
            raise bad_request("limit must be a whole number from 1")
        return Page(
            min(limit, self._max_chats),
            after=0 if query.after is None else await self._position(user, "after", query.after),
            before=None
            if query.before is None
            else await self._position(user, "before", query.before),
        )

    async def _position(self, user: UserId, field: str, text: str) -> int:
        chat_id = parse_uuid(text)
        if chat_id is None:
            raise bad_request(f"{field} must be the UUID of a chat")
        seq = await self._store.position(user, ChatId(chat_id))
        if seq is None:
            raise not_found()
        return seq


class _Turn:
    """Whose list is being made, and how many more that user wants."""

    __slots__ = ("lock", "wanted")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted = 0


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as exc:
        raise store_unavailable() from exc
