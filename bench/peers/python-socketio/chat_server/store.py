"""Chats in PostgreSQL: a statement, and so a transaction, per message."""

from __future__ import annotations

from typing import Any, Final, TypedDict

import asyncpg

_INSERT: Final = """
INSERT INTO chat (id, sender, receiver, message, created_at) VALUES ($1, $2, $3, $4, $5)"""
_MARK: Final = "UPDATE chat SET received = true WHERE id = $1 AND receiver = $2"

_LIST_MAX: Final = 10_000
_SELECT: Final = """
SELECT id::text, sender::text, receiver::text, message, created_at, received
FROM chat WHERE receiver = $1"""
_UNRECEIVED: Final = f"{_SELECT} AND NOT received ORDER BY created_at LIMIT {_LIST_MAX}"
_NEWEST: Final = f"{_SELECT} ORDER BY created_at DESC LIMIT {_LIST_MAX}"


class Chat(TypedDict):
    """A message as clients see it."""

    id: str
    sender: str
    receiver: str
    message: str
    createdAt: int  # milliseconds since the Unix epoch
    received: bool


class Store:
    """What users have sent to one another."""

    def __init__(self, pool: Any) -> None:
        """``pool``: asyncpg's."""
        self._pool = pool

    async def add(self, chat: Chat) -> None:
        """Store a chat; it is on disk when this returns."""
        await self._pool.execute(
            _INSERT,
            chat["id"],
            chat["sender"],
            chat["receiver"],
            chat["message"],
            chat["createdAt"],
        )

    async def mark_received(self, user: str, chat_id: str) -> bool:
        """False if the user has no such chat."""
        status: str = await self._pool.execute(_MARK, chat_id, user)
        return status == "UPDATE 1"

    async def unreceived(self, user: str) -> list[Chat]:
        """The oldest chats that a user has not yet marked received, oldest first."""
        return [_chat(row) for row in await self._pool.fetch(_UNRECEIVED, user)]

    async def all(self, user: str) -> list[Chat]:
        """The newest chats sent to a user, oldest first."""
        return [_chat(row) for row in reversed(await self._pool.fetch(_NEWEST, user))]


def _chat(row: asyncpg.Record) -> Chat:
    return Chat(
        id=row["id"],
        sender=row["sender"],
        receiver=row["receiver"],
        message=row["message"],
        createdAt=row["created_at"],
        received=row["received"],
    )
