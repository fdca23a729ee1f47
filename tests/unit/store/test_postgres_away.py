"""PostgreSQL goes away in every way it can, and the store recovers by itself."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self

import pytest

from parley.chat.ports import NewChat, Page, Receipt, Stored
from parley.errors import StoreUnavailable
from parley.model import ChatId, UserId
from parley.store import postgres_lane
from parley.store.postgres import PostgresOptions, PostgresStore
from parley.store.postgres_connect import connect
from tests.services.postgres import PATIENCE, Installation, PostgresServer

ALL = Page(limit=10_000)
HASTY = 1.5
"""Seconds: more than any call takes on a busy machine, little enough to wait for."""
END_ALL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'parley'"


class Node:
    """A store, and a user whose inbox has one chat."""

    def __init__(self, store: PostgresStore) -> None:
        self.store = store
        self.ann = UserId(str(uuid.uuid4()))

    @classmethod
    async def open(cls, server: PostgresServer, **options: Any) -> Self:
        node = cls(await PostgresStore.open(server.options(**options)))
        await node.commit()
        await asyncio.gather(*[node.store.ping() for _ in range(8)])  # all connections are there
        return node

    def chat(self) -> NewChat:
        return NewChat(ChatId(str(uuid.uuid4())), self.ann, self.ann, "hi", 1)

    async def commit(self) -> None:
        await self.store.commit([self.chat()], [])

    async def seqs(self) -> list[int]:
        return [entry.seq for entry in await self.store.entries(self.ann, 0, 1_000_000)]

    def calls(self) -> list[Awaitable[object]]:
        """Everything that one may ask for; what is committed is one chat."""
        ann, chat_id = self.ann, self.chat().id
        return [
            self.store.commit([self.chat()], [Receipt(ann, chat_id)]),
            self.store.heads([ann]),
            self.store.entries(ann, 0, 9),
            self.store.unreceived(ann, ALL),
            self.store.received_by(ann, ALL),
            self.store.position(ann, chat_id),
            self.store.ping(),
        ]

    async def call_all(self) -> None:
        """Do it all at once, to its end; raises the first error."""
        outcomes = await asyncio.gather(*self.calls(), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome


@pytest.fixture(scope="module")
def one_server(postgres_installation: Installation) -> Iterator[PostgresServer]:
    with postgres_installation.server() as server:
        yield server


@pytest.fixture
def server(one_server: PostgresServer) -> Iterator[PostgresServer]:
    """A server that is well again after each test."""
    yield one_server
    one_server.resume()
    if not one_server.running:
        one_server.start()


@pytest.fixture(params=[False, True], ids=["", "pooler"])
async def node(server: PostgresServer, request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    node = await Node.open(server, pooler=request.param)
    yield node
    await node.store.close()


@pytest.fixture
async def hasty(server: PostgresServer) -> AsyncIterator[Node]:
    """A node that doesn't wait for long."""
    node = await Node.open(server, timeout=HASTY)
    yield node
    await node.store.close()


async def eventually(attempt: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await attempt()
            except StoreUnavailable:
                await asyncio.sleep(0.01)
            else:
                return


# --- down and up again --------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_everything_fails_while_it_is_down_and_works_again_when_it_is_back(
    server: PostgresServer, node: Node, end: str
) -> None:
    getattr(server, end)()
    for call in node.calls():
        with pytest.raises(StoreUnavailable, match="PostgreSQL at"):
            await call
    server.start()
    await node.call_all()
    assert await node.seqs() == [1, 2]


async def test_what_returned_is_there_whatever_happens_meanwhile(
    server: PostgresServer, node: Node
) -> None:
    """Two nodes write to one inbox while the server is killed, and stopped."""
    other = Node(await PostgresStore.open(server.options()))
    stored: dict[ChatId, int | None] = {}
    unknown: set[ChatId] = set()
    finished = asyncio.Event()

    async def write(store: PostgresStore) -> None:
        while not finished.is_set():
            chats = [node.chat() for _ in range(5)]
            try:
                outcome = await store.commit(chats, [])
            except StoreUnavailable:
                unknown.update(each.id for each in chats)
                await asyncio.sleep(0.005)
            else:
                done = [each for each in outcome.chats if isinstance(each, Stored)]
                stored.update({each.chat.id: each.seq for each in done})

    async def progress() -> None:
        count = len(stored) + 100
        async with asyncio.timeout(PATIENCE):
            while len(stored) < count:  # noqa: ASYNC110 - there is nothing to wait for
                await asyncio.sleep(0.005)

    writers = [asyncio.create_task(write(each.store)) for each in (node, other)]
    for end in (server.kill, server.stop):
        await progress()
        await asyncio.to_thread(end)
        await asyncio.to_thread(server.start)
    await progress()
    finished.set()
    await asyncio.gather(*writers)
    entries = await node.store.entries(node.ann, 0, 1_000_000)
    assert [entry.seq for entry in entries] == [*range(1, len(entries) + 1)]
    there = {entry.chat.id: entry.seq for entry in entries[1:]}
    assert stored.items() <= there.items()
    assert there.keys() <= stored.keys() | unknown
    assert await node.store.heads([node.ann]) == {node.ann: len(entries)}
    await other.store.close()


async def test_sessions_that_an_administrator_ends(server: PostgresServer, node: Node) -> None:
    assert len(await asyncio.to_thread(server.execute, END_ALL)) >= 5
    await eventually(node.call_all)


# --- there, but not answering -------------------------------------------------------------------


async def test_a_server_that_stands_still(server: PostgresServer, hasty: Node) -> None:
    server.pause()
    for _ in range(2):  # with connections, and without
        outcomes = await asyncio.gather(*hasty.calls(), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        reasons = {str(outcome).partition(": ")[2] for outcome in outcomes}
        assert reasons == {f"no answer within {HASTY:g} seconds"}
    server.resume()
    await eventually(hasty.call_all)
    seqs = await hasty.seqs()
    assert seqs == [*range(1, len(seqs) + 1)]
    assert await hasty.store.heads([hasty.ann]) == {hasty.ann: len(seqs)}


async def test_closing_while_the_server_stands_still(server: PostgresServer, hasty: Node) -> None:
    server.pause()
    waiting = asyncio.gather(*hasty.calls(), return_exceptions=True)
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        await hasty.store.close()
    assert {type(outcome) for outcome in await waiting} == {StoreUnavailable}


async def test_a_commit_that_takes_too_long_is_given_up_on_both_sides(
    server: PostgresServer, hasty: Node
) -> None:
    lock = await connect(server.options())
    async with lock.transaction():
        await lock.execute("LOCK TABLE heads")
        with pytest.raises(StoreUnavailable, match=r"no answer within|statement timeout"):
            await hasty.commit()
        waits = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        async with asyncio.timeout(PATIENCE):
            while await asyncio.to_thread(server.execute, waits):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    await lock.close()
    await hasty.commit()
    assert await hasty.seqs() == [1, 2]


# --- there, but not for us ----------------------------------------------------------------------


async def test_a_server_that_became_read_only(server: PostgresServer, node: Node) -> None:
    """As a standby is: first noticed on connections that were open, and then on new ones."""

    def switch(state: str) -> None:
        server.execute(f"ALTER SYSTEM SET default_transaction_read_only = {state}")
        server.execute("SELECT pg_reload_conf()")

    await asyncio.to_thread(switch, "on")
    while True:  # its session may not have heard of it yet
        try:
            await node.commit()
        except StoreUnavailable as error:
            assert "read-only" in str(error)  # noqa: PT017 - sooner or later
            break
    with pytest.raises(StoreUnavailable, match=r"is it a standby\?"):
        await node.commit()
    await asyncio.to_thread(switch, "off")
    await eventually(node.call_all)


@pytest.fixture
def humble(server: PostgresServer) -> Iterator[PostgresOptions]:
    """A database of its own, for a role that is no administrator's."""
    name = password = "humble"
    server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    with server.temporary_database(f"OWNER {name}") as database:
        yield server.options(user=name, password=password, database=database)
    server.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize(
    "right", ["EXECUTE ON FUNCTION pg_terminate_backend", "SELECT ON pg_stat_activity"]
)
async def test_a_server_where_sessions_may_not_be_ended_or_seen(
    server: PostgresServer, humble: PostgresOptions, right: str
) -> None:
    server.execute(f"REVOKE {right} FROM PUBLIC", humble.database)
    node = Node(await PostgresStore.open(humble))
    for _ in range(3):
        await eventually(node.commit)
        server.execute(END_ALL)
    await eventually(node.commit)
    assert len(await node.seqs()) >= 4
    await node.store.close()


async def sessions(node: Node) -> set[int]:
    """The server's processes for reading."""
    slow = "SELECT pg_backend_pid(), pg_sleep(0.05)"  # so that they can't share one
    reads = [node.store._reader.fetch(slow) for _ in range(4)]
    return {pid for rows in await asyncio.gather(*reads) for pid, _ in rows}


async def test_what_is_idle_beside_a_connection_that_failed_is_not_trusted(
    server: PostgresServer, hasty: Node
) -> None:
    before = await sessions(hasty)
    server.pause()
    with pytest.raises(StoreUnavailable):
        await hasty.store.ping()
    server.resume()
    assert not before & await sessions(hasty)


async def test_connections_are_not_trusted_for_ever(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, again = await sessions(node), await sessions(node)
    monkeypatch.setattr(postgres_lane, "IDLE", 0)
    assert before == again
    assert not before & await sessions(node)
