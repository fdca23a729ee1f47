"""Chats in one SQLite file: nothing to install, one machine.

One thread writes and two read, each with a connection of its own; in WAL mode
they do not wait for one another.

A thread gives up the GIL for every step of a statement, and waits long to get
it back while the event loop is busy.  Hence the style of the SQL here: one
step for many rows, never one for each.  Lists of ids go in, and lists of rows
come out, as one JSON text.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Self, TypeAlias, TypeVar

import msgspec
from msgspec.structs import astuple

from parley.answer import Answer, answer_of
from parley.chat.ports import AGAIN, Committed, IdTaken, Marked, NewChat, Page, Receipt, Stored
from parley.errors import StoreUnavailable
from parley.incidents import Incident, tell
from parley.model import Chat, ChatId, EntryKind, InboxEntry, UserId
from parley.store.migrations import LAST_VERSION
from parley.store.sqlite_lane import Lane, connect_reader, connect_writer, transaction
from parley.store.sqlite_revocations import SqliteRevocations
from parley.store.sqlite_schema import upgrade

logger = logging.getLogger(__name__)

T = TypeVar("T")
Key: TypeAlias = tuple[UserId, ChatId]
"""A chat is known by its receiver and its id."""

SLICE = 50
"""Rows to decode at a time.  The event loop stands still meanwhile: 0.02 ms for short messages,
5 ms for 10,000 emoji each."""
HEADS_SLICE = 1000
BUSY_TIMEOUT = 5.0
"""Seconds to wait for another program that has locked the file."""
END = 2**63 - 1
"""No position lies beyond it."""

# CROSS JOIN: SQLite keeps the tables in that order, whatever it thinks of their sizes.
# BLOB: the text need not become a str, only to be decoded again.
OLDEST = """
SELECT CAST(json_group_array(json_array(
    seq, kind, id, sender, receiver, message, created_at, received)) AS BLOB) FROM (
  SELECT inbox.seq, kind, id, sender, receiver, message, created_at, received
  FROM inbox CROSS JOIN chats ON chats.receiver = inbox.owner AND chats.id = inbox.chat_id
  WHERE owner = :owner AND inbox.seq > :after AND inbox.seq < :before
  ORDER BY inbox.seq LIMIT :limit)"""
NEWEST = OLDEST.replace("ORDER BY inbox.seq", "ORDER BY inbox.seq DESC")
UNRECEIVED = """
SELECT CAST(json_group_array(json_array(
    seq, 1, id, sender, receiver, message, created_at, received)) AS BLOB) FROM (
  SELECT seq, id, sender, receiver, message, created_at, received
  FROM chats INDEXED BY chats_unreceived
  WHERE receiver = :owner AND received = 0 AND seq > :after AND seq < :before
  ORDER BY seq LIMIT :limit)"""
POSITION = "SELECT seq FROM chats WHERE receiver = :owner AND id = :id"
HEADS = """
SELECT json_group_object(owner, seq) FROM heads
WHERE owner IN (SELECT value FROM json_each(:owners))"""
NUMBERS = f"SELECT (SELECT max(rowid) FROM chats), ({HEADS})"  # noqa: S608 - a constant
BY_KEY = """
json_each(:keys) CROSS JOIN chats
  ON receiver = json_extract(value, '$[0]') AND chats.id = json_extract(value, '$[1]')"""
EXISTING = f"""
SELECT json_group_array(json_array(receiver, chats.id, sender, message, created_at, received))
FROM {BY_KEY}"""  # noqa: S608 - a constant
MARKS = f"""
SELECT
  json_group_array(json_array(json_array(receiver, chats.id), chats.rowid, sender))
    FILTER (WHERE received = 0),
  json_group_array(json_array(receiver, chats.id)) FILTER (WHERE received = 1)
FROM {BY_KEY}"""  # noqa: S608 - a constant
MARK = "UPDATE chats SET received = 1 WHERE rowid IN (SELECT value FROM json_each(:rows))"
DELIVERED = """
SELECT json_group_array(chats.id) FROM json_each(:ids) CROSS JOIN chats
  ON chats.id = value AND receiver = :receiver
WHERE sender = :sender AND received = 1"""
INSERT = "INSERT INTO chats (receiver, id, sender, seq, message, created_at) VALUES "
# What a commit has inserted is what lies behind the last row that it found. NOT INDEXED: by rowid.
ADD_TO_INBOX = """
INSERT INTO inbox (owner, seq, kind, chat_id)
SELECT receiver, seq, 1, id FROM chats NOT INDEXED WHERE rowid > :last"""
MOVE_HEADS = """
INSERT INTO heads (owner, seq)
SELECT receiver, max(seq) FROM chats NOT INDEXED WHERE rowid > :last GROUP BY receiver
ON CONFLICT (owner) DO UPDATE SET seq = excluded.seq"""

_encode = msgspec.json.encode
_decode_heads = msgspec.json.Decoder(dict[UserId, int]).decode
_decode_chats = msgspec.json.Decoder(list[tuple[UserId, ChatId, UserId, str, int, int]]).decode
_decode_unmarked = msgspec.json.Decoder(list[tuple[Key, int, UserId]]).decode
_decode_keys = msgspec.json.Decoder(list[Key]).decode
_decode_ids = msgspec.json.Decoder(set[ChatId]).decode
_decode_entries = msgspec.json.Decoder(
    list[tuple[int, EntryKind, ChatId, UserId, UserId, str, int, int]]
).decode


class SqliteStore:
    """A :class:`parley.chat.ports.Store` in a file; make one with :meth:`open`.

    Several processes may have the same file open.
    """

    def __init__(self, path: Path, busy_timeout: float) -> None:
        self._writer = Lane("parley-store-write", 1, lambda: connect_writer(path, busy_timeout))
        self._reader = Lane("parley-store-read", 2, lambda: connect_reader(path, busy_timeout))
        self._closing: asyncio.Task[None] | None = None
        self.revocations = SqliteRevocations(self._run, self._reader, self._writer)

    @classmethod
    async def open(cls, path: Path, *, busy_timeout: float = BUSY_TIMEOUT) -> Self:
        """Open the database in the file ``path``, creating or upgrading it if need be.

        ``busy_timeout``: seconds to wait for another program that has locked it.
        Raises StoreBroken, with a sentence for the operator, if it can't be used.
        """
        # Else SQLite would take names such as ":memory:" for something else.
        path = path.absolute()  # noqa: ASYNC240 - asks no disk
        await asyncio.to_thread(upgrade, path, busy_timeout)
        return cls(path, busy_timeout)

    def commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Answer[Committed]:
        """See :meth:`parley.chat.ports.Store.commit`.

        An id that the client didn't choose but that exists nevertheless is IdTaken.
        ``received`` in the outcomes is as it was before the receipts.
        """
        return answer_of(self._commit(chats, receipts))

    async def heads(self, owners: Sequence[UserId]) -> Mapping[UserId, int]:
        """See :meth:`parley.chat.ports.Store.heads`."""
        return await self._run(self._reader, lambda db: _heads(db, owners))

    async def entries(self, owner: UserId, after: int, limit: int) -> list[InboxEntry]:
        """See :meth:`parley.chat.ports.Store.entries`."""
        page = Page(limit, after=after)
        return await self._run(self._reader, lambda db: _list(db, OLDEST, owner, page))

    async def unreceived(self, owner: UserId, page: Page) -> list[InboxEntry]:
        """See :meth:`parley.chat.ports.Store.unreceived`."""
        return await self._run(self._reader, lambda db: _list(db, UNRECEIVED, owner, page))

    async def received_by(self, owner: UserId, page: Page) -> list[InboxEntry]:
        """See :meth:`parley.chat.ports.Store.received_by`."""
        query = OLDEST if page.after and page.before is None else NEWEST
        return await self._run(self._reader, lambda db: _list(db, query, owner, page))

    async def position(self, owner: UserId, chat_id: ChatId) -> int | None:
        """See :meth:`parley.chat.ports.Store.position`."""
        key = {"owner": owner, "id": chat_id}
        row = await self._run(self._reader, lambda db: db.execute(POSITION, key).fetchone())
        return None if row is None else int(row[0])

    async def delivered(
        self, sender: UserId, receiver: UserId, chat_ids: Sequence[ChatId]
    ) -> set[ChatId]:
        """See :meth:`parley.chat.ports.Store.delivered`."""
        asked = {"sender": sender, "receiver": receiver, "ids": _encode(chat_ids).decode()}
        row = await self._run(self._reader, lambda db: db.execute(DELIVERED, asked).fetchone())
        return _decode_ids(row[0])

    async def ping(self) -> None:
        """See :meth:`parley.chat.ports.Store.ping`."""
        await self._run(self._reader, lambda db: db.execute(LAST_VERSION).fetchone())

    async def close(self) -> None:
        """See :meth:`parley.chat.ports.Store.close`.  Everything is in the one file then."""
        if self._closing is None:
            self._closing = asyncio.create_task(asyncio.to_thread(self._close_lanes))
        await asyncio.shield(self._closing)

    def _close_lanes(self) -> None:
        self._reader.close()
        self._writer.close("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Committed:
        chosen = [(new.receiver, new.id) for new in chats if new.chosen_id]
        try:
            return await self._run(self._writer, lambda db: _commit(db, chats, receipts, chosen))
        except sqlite3.IntegrityError as error:
            # Ids that nobody chose begin at random: that one exists is so unlikely that it is
            # looked for only now.
            text, name = "a commit is tried again", type(error).__name__
            tell(logger, Incident.COMMIT_RETRIED, text, reason=name, subject=name)
        every = [(new.receiver, new.id) for new in chats]
        return await self._run(self._writer, lambda db: _commit(db, chats, receipts, every))

    async def _run(self, lane: Lane, job: Callable[[sqlite3.Connection], T]) -> T:
        if self._closing is not None:
            raise StoreUnavailable("the store is closed")
        return await lane.run(job)


def _commit(
    db: sqlite3.Connection,
    chats: Sequence[NewChat],
    receipts: Sequence[Receipt],
    suspects: Sequence[Key],
) -> Committed:
    with transaction(db, "BEGIN IMMEDIATE"):
        outcomes = _store(db, chats, _existing(db, suspects)) if chats else []
        marked = _mark(db, receipts) if receipts else []
    return Committed(outcomes, marked)


def _existing(db: sqlite3.Connection, keys: Sequence[Key]) -> dict[Key, Chat]:
    if not keys:
        return {}
    (found,) = db.execute(EXISTING, {"keys": _encode(keys).decode()}).fetchone()
    return {
        (receiver, chat_id): Chat(chat_id, sender, receiver, message, created_at, received == 1)
        for receiver, chat_id, sender, message, created_at, received in _decode_chats(found)
    }


def _store(
    db: sqlite3.Connection, chats: Sequence[NewChat], known: dict[Key, Chat]
) -> list[Stored | IdTaken]:
    """Number and insert the chats that are not ``known``; those become known too."""
    owners = _encode(list({new.receiver for new in chats})).decode()
    last, found = db.execute(NUMBERS, {"owners": owners}).fetchone()
    heads = _decode_heads(found)
    outcomes: list[Stored | IdTaken] = []
    rows: list[tuple[object, ...]] = []
    for new in chats:
        old = known.get((new.receiver, new.id))
        if old is None:
            seq = heads[new.receiver] = heads.get(new.receiver, 0) + 1
            chat = Chat(new.id, new.sender, new.receiver, new.message, new.created_at, False)
            known[new.receiver, new.id] = chat
            outcomes.append(Stored(chat, seq))
            rows.append((new.receiver, new.id, new.sender, seq, new.message, new.created_at))
        elif new.chosen_id and (old.sender, old.message) == (new.sender, new.message):
            outcomes.append(Stored(old, None))
        else:
            outcomes.append(IdTaken())
    if rows:
        _insert(db, rows)
        db.execute(ADD_TO_INBOX, {"last": last or 0})
        db.execute(MOVE_HEADS, {"last": last or 0})
    return outcomes


def _insert(db: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert in powers of two: few steps, and few statements for SQLite to prepare."""
    start, size = 0, 256
    while start < len(rows):
        while size > len(rows) - start:
            size //= 2
        values = [value for row in rows[start : start + size] for value in row]
        db.execute(_insert_statement(size), values)
        start += size


@functools.cache
def _insert_statement(rows: int) -> str:
    return INSERT + ", ".join(["(?, ?, ?, ?, ?, ?)"] * rows)


def _mark(db: sqlite3.Connection, receipts: Sequence[Receipt]) -> list[Marked | None]:
    asked: list[Key] = list(map(astuple, receipts))
    found, known = db.execute(MARKS, {"keys": _encode(asked).decode()}).fetchone()
    again = dict.fromkeys(_decode_keys(known), AGAIN)
    first: dict[Key, Marked] = {}
    if unmarked := _decode_unmarked(found):
        keys, rows, senders = zip(*unmarked, strict=True)
        db.execute(MARK, {"rows": _encode(rows).decode()})
        first = dict(zip(keys, map(Marked, senders), strict=True))
        again.update(dict.fromkeys(first, AGAIN))
    return [first.pop(key, None) or again.get(key) for key in asked]


def _heads(db: sqlite3.Connection, owners: Sequence[UserId]) -> dict[UserId, int]:
    heads = dict.fromkeys(owners, 0)
    for start in range(0, len(owners), HEADS_SLICE):
        part = _encode(owners[start : start + HEADS_SLICE]).decode()
        (found,) = db.execute(HEADS, {"owners": part}).fetchone()
        heads.update(_decode_heads(found))
    return heads


def _list(db: sqlite3.Connection, query: str, owner: UserId, page: Page) -> list[InboxEntry]:
    """Run one of the queries for lists, slice by slice; the result is in ``seq`` order."""
    after, before = page.after, END if page.before is None else page.before
    entries: list[InboxEntry] = []
    # All slices must show the same moment.
    with transaction(db, "BEGIN") if page.limit > SLICE else nullcontext():
        while (limit := min(SLICE, page.limit - len(entries))) > 0:
            bounds = {"owner": owner, "after": after, "before": before, "limit": limit}
            (found,) = db.execute(query, bounds).fetchone()
            rows = _decode_entries(found)
            rows.sort(reverse=query is NEWEST)  # SQLite promises no order within the array
            entries += [
                InboxEntry(owner, seq, kind, Chat(id_, sender, receiver, text, at, mark == 1))
                for seq, kind, id_, sender, receiver, text, at, mark in rows
            ]
            if len(rows) < limit:
                break
            if query is NEWEST:
                before = rows[-1][0]
            else:
                after = rows[-1][0]
    if query is NEWEST:
        entries.reverse()
    return entries
