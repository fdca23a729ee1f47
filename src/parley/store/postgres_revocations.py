"""Revocations in PostgreSQL: any number of nodes read them, and `parley kick` writes them."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import asyncpg

from parley.chat.ports import Revocation
from parley.errors import StoreUnavailable
from parley.model import UserId
from parley.store.postgres_lane import Lane

T = TypeVar("T")

ATTEMPTS: Final = 20
"""How often a change is tried that others get in the way of."""

NEWEST: Final = "SELECT coalesce(max(version), 0) FROM revocations"
CHANGES: Final = """
SELECT user_id::text, issued_before, until, reason, version FROM revocations
WHERE version > $1 AND until > $2 ORDER BY version LIMIT $3"""
# Who takes the same version as another waits for that one's commit, and fails by it: so versions
# are committed in their order, and whoever reads one has seen all before it.
PUT: Final = f"""
INSERT INTO revocations (user_id, issued_before, until, reason, version)
VALUES ($1, $2, $3, $4, ({NEWEST}) + 1)
ON CONFLICT (user_id) DO UPDATE SET
  issued_before = excluded.issued_before, until = excluded.until,
  reason = excluded.reason, version = excluded.version"""  # noqa: S608 - a constant


class Run(Protocol):
    """Does what the store is asked for, unless that is closed."""

    def __call__(self, work: Coroutine[Any, Any, T]) -> Awaitable[T]: ...


class PostgresRevocations:
    """A :class:`parley.chat.ports.RevocationStore`."""

    def __init__(self, run: Run, lane: Lane) -> None:
        self._run = run
        self._lane = lane

    async def put(self, revocation: Revocation) -> None:
        """See :meth:`parley.chat.ports.RevocationStore.put`."""
        await self._run(self._put(revocation))

    async def newest(self) -> int:
        """See :meth:`parley.chat.ports.RevocationStore.newest`."""
        [(version,)] = await self._run(self._lane.fetch(NEWEST))
        return int(version)

    async def changes(self, after: int, until_after: int, limit: int) -> list[Revocation]:
        """See :meth:`parley.chat.ports.RevocationStore.changes`."""
        rows = await self._run(self._lane.fetch(CHANGES, after, until_after, limit))
        return [Revocation(UserId(user), *rest) for user, *rest in rows]

    async def _put(self, new: Revocation) -> None:
        for _ in range(ATTEMPTS):
            try:
                await self._lane.fetch(PUT, new.user, new.issued_before, new.until, new.reason)
            except (
                asyncpg.UniqueViolationError,
                asyncpg.SerializationError,
                asyncpg.DeadlockDetectedError,
            ):
                continue
            return
        raise StoreUnavailable(f"others got in the way of a revocation {ATTEMPTS} times")
