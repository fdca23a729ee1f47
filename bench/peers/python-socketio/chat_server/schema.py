"""Creates the database and its table if they are missing: ``python -m chat_server.schema``."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg

from .settings import Database, Settings

TABLE = """
SELECT pg_advisory_xact_lock(1); -- nodes may start at the same moment
CREATE TABLE IF NOT EXISTS chat (
  id uuid PRIMARY KEY,
  sender uuid NOT NULL,
  receiver uuid NOT NULL,
  message text NOT NULL,
  created_at bigint NOT NULL,
  received boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS chat_receiver ON chat (receiver, created_at);
"""


async def create(database: Database) -> None:
    """Does nothing to what is there already."""
    with suppress(asyncpg.DuplicateDatabaseError):
        quoted = database.name.replace('"', '""')
        await _execute(database, "postgres", f'CREATE DATABASE "{quoted}"')
    await _execute(database, database.name, TABLE)


async def _execute(database: Database, name: str, statements: str) -> None:
    connection = await asyncpg.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        database=name,
    )
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(create(Settings.read().database))
