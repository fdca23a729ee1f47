"""What is sent later is never stored earlier, though a connection is lost in the midst of it."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from parley.chat.ports import NewChat
from parley.errors import StoreUnavailable
from parley.model import ChatId, UserId
from parley.store.postgres import PostgresStore
from parley.store.postgres_connect import connect
from tests.services.postgres import PATIENCE, Postgres
from tests.services.proxy import Proxy

WAITING = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%heads%'"""


async def test_a_commit_that_was_under_way_on_a_lost_connection(postgres: Postgres) -> None:
    low, high = sorted(UserId(str(uuid.uuid4())) for _ in range(2))

    def chat(receiver: UserId, message: str) -> NewChat:
        return NewChat(ChatId(str(uuid.uuid4())), low, receiver, message, 1)

    async def messages(owner: UserId) -> list[str]:
        return [entry.chat.message for entry in await store.entries(owner, 0, 10)]

    holder = await connect(postgres.options())
    with Proxy(postgres.port) as proxy:
        store = await PostgresStore.open(postgres.options(port=proxy.port))
        try:
            await store.commit([chat(low, "first"), chat(high, "first")], [])
            async with asyncio.timeout(PATIENCE), holder.transaction():
                await holder.fetch("SELECT FROM heads WHERE owner = $1 FOR UPDATE", low)
                late = store.commit([chat(low, "late"), chat(high, "late")], [])
                while not await holder.fetch(WAITING):  # noqa: ASYNC110 - nothing tells when
                    await asyncio.sleep(0.01)
                await asyncio.to_thread(proxy.cut)  # the server doesn't notice
                with pytest.raises(StoreUnavailable):
                    await late
                await store.commit([chat(high, "after it")], [])
            await store.commit([chat(low, "after it")], [])  # behind whatever waits for the lock
            assert await messages(high) == ["first", "after it"]
            assert await messages(low) == ["first", "after it"]
        finally:
            await store.close()
            holder.terminate()
