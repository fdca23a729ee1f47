"""Chats in PostgreSQL: many nodes, one database.

A commit is one statement on a connection of its own; without a transaction
around it, it costs one round trip and can't be left half done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self, TypeVar

import asyncpg

from parley.answer import Answer, answer_of
from parley.chat.ports import Committed, NewChat, Page, Receipt
from parley.errors import StoreUnavailable
from parley.incidents import Incident, tell
from parley.model import Chat, ChatId, EntryKind, InboxEntry, UserId
from parley.store import postgres_statements as sql
from parley.store.postgres_commit import Batch, Key, as_list, keys
from parley.store.postgres_connect import FAILURES, PostgresOptions, raise_if_away
from parley.store.postgres_lane import Lane
from parley.store.postgres_revocations import PostgresRevocations
from parley.store.postgres_schema import prepare
from parley.store.postgres_wire import Row
from parley.store.postgres_writer import Writer

__all__ = ["PostgresOptions", "PostgresStore", "migrate"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS: Final = 5
"""How often a commit is tried that others got in the way of."""
SLICE: Final = 100
"""Rows of a list to fetch at a time.  The event loop stands still while they are decoded: about
1 ms for short messages, 6 ms for 10,000 emoji each."""
HEADS_SLICE: Final = 1000
END: Final = 2**63 - 1
"""No position lies beyond it."""

IN_THE_WAY: Final = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""Undone by the server, for the sake of others."""
CLOSED: Final = "the store is closed"

KINDS: Final = {kind.value: kind for kind in EntryKind}


async def migrate(options: PostgresOptions) -> tuple[int, int]:
    """Create or upgrade the tables; returns the schema's version before and after.

    Raises StoreUnavailable and StoreBroken, as :meth:`PostgresStore.open`.
    """
    return await prepare(options)


class PostgresStore:
    """A :class:`parley.chat.ports.Store` in PostgreSQL; make one with :meth:`open`.

    Connections are made when they are needed, and anew after any error: it
    recovers by itself, however the server went away.
    """

    def __init__(self, options: PostgresOptions) -> None:
        self._options = options
        self._writer = Writer(options)
        self._reader = Lane(options, options.pool_size)
        self._no_commit = asyncio.Event()
        self._no_commit.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        self.revocations = PostgresRevocations(self._run, self._reader)

    @classmethod
    async def open(cls, options: PostgresOptions) -> Self:
        """Open the database, creating or upgrading its tables if need be.

        Raises:
            StoreUnavailable: it can't be reached now, or can't be written to now.
            StoreBroken: somebody has to do something first; the message says what.
        """
        await prepare(options)
        return cls(options)

    def commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Answer[Committed]:
        """See :meth:`parley.chat.ports.Store.commit`.

        An id that the client didn't choose but that exists nevertheless is IdTaken.
        ``received`` in the outcomes is as it was before the receipts.
        """
        if not self._no_commit.is_set():
            raise RuntimeError("commits must not be concurrent")
        committed: Answer[Committed] = Answer()
        if self._closing is not None:
            committed.fail(StoreUnavailable(CLOSED))
            return committed
        batch = Batch(chats, receipts, {})
        self._no_commit.clear()
        if self._writer.ready and batch.statement and not any(new.chosen_id for new in chats):
            rows = self._writer.run(batch.statement, batch.arguments)
            rows.then(partial(self._answered, committed, chats, receipts, batch))
        else:
            self._commit_in_task(committed, chats, receipts)
        return committed

    async def heads(self, owners: Sequence[UserId]) -> Mapping[UserId, int]:
        """See :meth:`parley.chat.ports.Store.heads`."""
        return await self._run(self._heads(owners))

    async def entries(self, owner: UserId, after: int, limit: int) -> list[InboxEntry]:
        """See :meth:`parley.chat.ports.Store.entries`."""
        return await self._run(self._list(sql.OLDEST, owner, Page(limit, after=after)))

    async def unreceived(self, owner: UserId, page: Page) -> list[InboxEntry]:
        """See :meth:`parley.chat.ports.Store.unreceived`."""
        return await self._run(self._list(sql.UNRECEIVED, owner, page))

    async def received_by(self, owner: UserId, page: Page) -> list[InboxEntry]:
        """See :meth:`parley.chat.ports.Store.received_by`."""
        statement = sql.OLDEST if page.after and page.before is None else sql.NEWEST
        return await self._run(self._list(statement, owner, page))

    async def position(self, owner: UserId, chat_id: ChatId) -> int | None:
        """See :meth:`parley.chat.ports.Store.position`."""
        rows = await self._run(self._reader.fetch(sql.POSITION, owner, chat_id))
        return rows[0][0] if rows else None

    async def delivered(
        self, sender: UserId, receiver: UserId, chat_ids: Sequence[ChatId]
    ) -> set[ChatId]:
        """See :meth:`parley.chat.ports.Store.delivered`."""
        asked = (sender, receiver, as_list(chat_ids))
        rows = await self._run(self._reader.fetch(sql.DELIVERED, *asked))
        return {chat_ids[place - 1] for (place,) in rows}

    async def ping(self) -> None:
        """See :meth:`parley.chat.ports.Store.ping`."""
        await self._run(self._reader.fetch(sql.PING))

    async def close(self) -> None:
        """See :meth:`parley.chat.ports.Store.close`."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._no_commit.wait()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._writer.close()
        await self._reader.close()

    async def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` to its end, even if the caller gives up waiting for it.

        Else it would cost a connection each time that a client goes while it is answered.
        """
        if self._closing is not None:
            work.close()
            raise StoreUnavailable(CLOSED)
        task = asyncio.create_task(self._translated(work))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _translated(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await work
        except FAILURES as error:
            raise_if_away(error, self._options)
            raise

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # if nobody waits any more, nobody has to hear of it

    def _answered(
        self,
        committed: Answer[Committed],
        chats: Sequence[NewChat],
        receipts: Sequence[Receipt],
        batch: Batch,
        rows: Answer[list[Row]],
    ) -> None:
        try:
            [row] = rows.result()
            outcome = batch.outcome(*row)
        except Exception as error:
            self._commit_in_task(committed, chats, receipts, error)
        else:
            self._no_commit.set()
            committed.set(outcome)

    def _commit_in_task(
        self,
        committed: Answer[Committed],
        chats: Sequence[NewChat],
        receipts: Sequence[Receipt],
        failed: Exception | None = None,
    ) -> None:
        """Do what takes more than one statement; ``failed``: what a first attempt came to."""

        def end(outcome: Answer[Committed]) -> None:
            self._no_commit.set()
            outcome.pass_to(committed)

        answer_of(self._translated(self._commit(chats, receipts, failed))).then(end)

    async def _commit(
        self, chats: Sequence[NewChat], receipts: Sequence[Receipt], failed: Exception | None
    ) -> Committed:
        suspects = [new for new in chats if new.chosen_id]
        for _ in range(ATTEMPTS):
            if isinstance(failed, asyncpg.UniqueViolationError):
                # Ids that nobody chose begin at random: that one exists is so unlikely that it is
                # looked for only now.
                suspects = list(chats)
            elif failed is not None and not isinstance(failed, IN_THE_WAY):
                raise failed
            if failed is not None:
                _retried(failed)
            known = await self._existing(suspects) if suspects else {}
            batch = Batch(chats, receipts, known)
            if batch.statement is None:
                return batch.outcome()
            try:
                [row] = await self._writer.fetch(batch.statement, *batch.arguments)
            except (asyncpg.UniqueViolationError, *IN_THE_WAY) as error:
                failed = error
            else:
                return batch.outcome(*row)
        raise StoreUnavailable(f"others got in the way of a commit {ATTEMPTS} times")

    async def _existing(self, suspects: Sequence[NewChat]) -> dict[Key, Chat]:
        pairs = list({(new.receiver, new.id) for new in suspects})
        known = {}
        for place, sender, message, at, received in await self._writer.fetch(
            sql.EXISTING, *keys(pairs)
        ):
            receiver, chat_id = key = pairs[int(place) - 1]
            known[key] = Chat(chat_id, sender, receiver, message, int(at), received == "t")
        return known

    async def _heads(self, owners: Sequence[UserId]) -> dict[UserId, int]:
        heads = dict.fromkeys(owners, 0)
        for start in range(0, len(owners), HEADS_SLICE):
            part = owners[start : start + HEADS_SLICE]
            for place, seq in await self._reader.fetch(sql.HEADS, as_list(part)):
                heads[part[place - 1]] = seq
        return heads

    async def _list(self, statement: str, owner: UserId, page: Page) -> list[InboxEntry]:
        """Run one of the statements for lists, slice by slice; the result is in ``seq`` order.

        The slices show different moments and yet fit together, because an inbox only grows, at
        its end: at most a receipt that arrives meanwhile shows in one part and not in another.
        """
        newest = statement is sql.NEWEST
        after, before = page.after, END if page.before is None else page.before
        entries: list[InboxEntry] = []
        while (limit := min(SLICE, page.limit - len(entries))) > 0:
            rows = await self._reader.fetch(statement, owner, after, before, limit)
            entries += [
                InboxEntry(owner, seq, KINDS[kind], Chat(id_, sender, owner, text, at, received))
                for seq, kind, id_, sender, text, at, received in rows
            ]
            if len(rows) < limit:
                break
            if newest:
                before = entries[-1].seq
            else:
                after = entries[-1].seq
        if newest:
            entries.reverse()
        return entries


def _retried(error: Exception) -> None:
    """Not the error's own words, which may quote a user's id."""
    name = type(error).__name__
    text = "a commit is tried again"
    tell(logger, Incident.COMMIT_RETRIED, text, reason=name, subject=name)
