"""Revocations in an SQLite file; the server and `parley kick` are two processes that share it."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from parley.chat.ports import Revocation
from parley.model import UserId
from parley.store.sqlite_lane import Lane, transaction

T = TypeVar("T")

NEWEST: Final = "SELECT coalesce(max(version), 0) FROM revocations"
CHANGES: Final = """
SELECT user_id, issued_before, until, reason, version FROM revocations
WHERE version > ? AND until > ? ORDER BY version LIMIT ?"""
PUT: Final = f"""
INSERT INTO revocations (user_id, issued_before, until, reason, version)
VALUES (?, ?, ?, ?, ({NEWEST}) + 1)
ON CONFLICT (user_id) DO UPDATE SET
  issued_before = excluded.issued_before, until = excluded.until,
  reason = excluded.reason, version = excluded.version"""  # noqa: S608 - a constant


class Run(Protocol):
    """Does a job on a lane of the store, unless that is closed."""

    def __call__(self, lane: Lane, job: Callable[[sqlite3.Connection], T]) -> Awaitable[T]: ...


class SqliteRevocations:
    """A :class:`parley.chat.ports.RevocationStore`."""

    def __init__(self, run: Run, reader: Lane, writer: Lane) -> None:
        self._run = run
        self._reader = reader
        self._writer = writer

    async def put(self, revocation: Revocation) -> None:
        """See :meth:`parley.chat.ports.RevocationStore.put`."""
        await self._run(self._writer, lambda db: _put(db, revocation))

    async def newest(self) -> int:
        """See :meth:`parley.chat.ports.RevocationStore.newest`."""
        (version,) = await self._run(self._reader, lambda db: db.execute(NEWEST).fetchone())
        return int(version)

    async def changes(self, after: int, until_after: int, limit: int) -> list[Revocation]:
        """See :meth:`parley.chat.ports.RevocationStore.changes`."""
        bounds = (after, until_after, limit)
        rows = await self._run(self._reader, lambda db: db.execute(CHANGES, bounds).fetchall())
        return [Revocation(UserId(user), *rest) for user, *rest in rows]


def _put(db: sqlite3.Connection, revocation: Revocation) -> None:
    # One writes at a time, so that versions are committed in their order.
    with transaction(db, "BEGIN IMMEDIATE"):
        db.execute(
            PUT,
            (revocation.user, revocation.issued_before, revocation.until, revocation.reason),
        )
