"""What is sent later is never stored earlier, though a connection is lost in the midst of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parley.chat.ports import NewChat, Stored
from parley.errors import StoreUnavailable
from parley.model import ChatId, UserId
from parley.store.postgres import PostgresStore
from parley.store.postgres_connect import connect
from tests.services.postgres import PATIENCE, Postgres
from tests.services.proxy import Proxy

WAITING = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%heads%'"""


class Site:
    """A node that reaches the database through a proxy, one that doesn't, and two users."""

    def __init__(self, postgres: Postgres, proxy: Proxy) -> None:
        self._postgres = postgres
        self.proxy = proxy
        # The head of the first is locked before that of the second.
        self.low, self.high = sorted(UserId(str(uuid.uuid4())) for _ in range(2))
        self.node: PostgresStore
        self.other: PostgresStore
        self._administrator: Any

    def chat(self, receiver: UserId, message: str, *, chosen: bool = False) -> NewChat:
        """A new chat; ``chosen``: its sender has chosen the id, and may send it again."""
        chat_id = ChatId(str(uuid.uuid4()))
        return NewChat(chat_id, self.low, receiver, message, 1, chosen_id=chosen)

    async def messages(self, owner: UserId) -> list[str]:
        """What is in an inbox."""
        return [entry.chat.message for entry in await self.other.entries(owner, 0, 10)]

    @asynccontextmanager
    async def held_up(self) -> AsyncIterator[None]:
        """Whatever is stored for ``low`` waits meanwhile."""
        holder = await connect(self._postgres.options())
        try:
            async with asyncio.timeout(PATIENCE), holder.transaction():
                await holder.fetch("SELECT FROM heads WHERE owner = $1 FOR UPDATE", self.low)
                yield
        finally:
            holder.terminate()

    async def until_waiting(self, commits: int = 1) -> None:
        """Wait until so many commits wait."""
        while len(await self._administrator.fetch(WAITING)) < commits:  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.01)

    async def lose(self, *chats: NewChat) -> None:
        """Have the node lose its connection while it waits with these; the server doesn't notice.

        For a server that is the same as a node that is killed.
        """
        late = self.node.commit(chats, [])
        await self.until_waiting()
        await asyncio.to_thread(self.proxy.cut)
        with pytest.raises(StoreUnavailable):
            await late

    async def open(self) -> None:
        self._administrator = await connect(self._postgres.options())
        self.node = await PostgresStore.open(self._postgres.options(port=self.proxy.port))
        self.other = await PostgresStore.open(self._postgres.options())
        await self.node.commit([self.chat(user, "first") for user in (self.low, self.high)], [])

    async def close(self) -> None:
        await self.node.close()
        await self.other.close()
        self._administrator.terminate()


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    with Proxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
async def site(postgres: Postgres, proxy: Proxy) -> AsyncIterator[Site]:
    site = Site(postgres, proxy)
    await site.open()
    yield site
    await site.close()


@pytest.mark.parametrize("chosen", [False, True], ids=["", "ids that must be looked for"])
async def test_a_commit_that_was_under_way_on_a_lost_connection(site: Site, chosen: bool) -> None:
    low, high, node = site.low, site.high, site.node
    late, after = [
        [site.chat(user, text, chosen=chosen) for user in (low, high)]
        for text in ("late", "after it")
    ]
    async with site.held_up():
        await site.lose(*late)
        await node.commit(after[1:], [])
    await node.commit(after[:1], [])  # behind whatever waits for the lock
    assert await site.messages(high) == ["first", "after it"]
    assert await site.messages(low) == ["first", "after it"]


async def test_what_is_sent_again_by_another_node_behind_the_commit_of_a_dead_one(
    site: Site,
) -> None:
    same = site.chat(site.low, "same", chosen=True)
    async with site.held_up():
        await site.lose(same)
        again = asyncio.ensure_future(site.other.commit([same], []))
        await site.until_waiting(2)
    [outcome] = (await again).chats
    assert isinstance(outcome, Stored)
    assert (outcome.chat.id, outcome.seq) == (same.id, None)  # the dead one's was stored
    await site.other.commit([site.chat(site.low, "next")], [])
    assert await site.messages(site.low) == ["first", "same", "next"]


async def test_what_is_sent_again_by_another_node_before_the_commit_of_a_dead_one(
    site: Site,
) -> None:
    same = site.chat(site.high, "same", chosen=True)
    async with site.held_up():
        await site.lose(site.chat(site.low, "of somebody else"), same)
        [outcome] = (await site.other.commit([same], [])).chats
        assert isinstance(outcome, Stored)
        assert outcome.seq == 2
        await site.other.commit([site.chat(site.high, "next")], [])
    await site.other.commit([site.chat(site.low, "next")], [])  # behind whatever waits for the lock
    assert await site.messages(site.high) == ["first", "same", "next"]
    assert await site.messages(site.low) == ["first", "next"]


async def test_what_a_dead_node_was_storing_may_be_stored_after_what_came_later(
    site: Site,
) -> None:
    """It was not acknowledged, and is not sent again: the one case without an order."""
    async with site.held_up():
        await site.lose(site.chat(site.low, "late"), site.chat(site.high, "late"))
        await site.other.commit([site.chat(site.high, "after it")], [])
    await site.other.commit([site.chat(site.low, "after it")], [])
    assert await site.messages(site.high) == ["first", "after it", "late"]
    assert await site.messages(site.low) == ["first", "late", "after it"]
