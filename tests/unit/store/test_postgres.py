"""What is PostgreSQL's own while all is well. The rest is in tests/contract."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from parley.chat.ports import IdTaken, Marked, NewChat, Page, Receipt, Stored
from parley.model import ChatId, UserId
from parley.store.postgres import PostgresOptions, PostgresStore
from parley.store.postgres_connect import connect
from tests.services.postgres import Postgres, PostgresServer

ALL = Page(limit=10_000)


def user() -> UserId:
    return UserId(str(uuid.uuid4()))


def chat(receiver: UserId, message: str = "hi", chosen: ChatId | None = None) -> NewChat:
    chat_id = chosen or ChatId(str(uuid.uuid4()))
    return NewChat(chat_id, receiver, receiver, message, 1, chosen_id=chosen is not None)


@asynccontextmanager
async def opened(options: PostgresOptions) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(options)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(postgres: Postgres) -> AsyncIterator[PostgresStore]:
    async with opened(postgres.options()) as store:
        yield store


# --- several writers ----------------------------------------------------------------------------


async def test_nodes_that_write_to_the_same_inboxes_never_deadlock(postgres: Postgres) -> None:
    """Each node sends to users in an order of its own, and marks what others send and mark."""
    owners = [user() for _ in range(8)]
    nodes = [await PostgresStore.open(postgres.options()) for _ in range(4)]
    sent: list[NewChat] = []

    async def work(node: PostgresStore, seed: int) -> Counter[UserId]:
        pick = random.Random(seed)  # noqa: S311 - the same each time
        counts: Counter[UserId] = Counter()
        for _ in range(40):
            chats = [chat(owner) for owner in pick.choices(owners, k=12)]
            chats = chats if pick.random() < 0.7 else []
            asked = chats[::3] + pick.sample(sent, min(len(sent), 20))
            receipts = [Receipt(each.receiver, each.id) for each in asked]
            outcome = await node.commit(chats, receipts)
            assert all(isinstance(each, Stored) for each in outcome.chats)
            assert all(outcome.receipts)
            counts.update(each.receiver for each in chats)
            sent.extend(chats)
        return counts

    before = deadlocks(postgres)
    counts = await asyncio.gather(*[work(node, seed) for seed, node in enumerate(nodes)])
    total = sum(counts, Counter[UserId]())
    assert await nodes[0].heads(owners) == dict(total)
    for owner in owners:
        entries = await nodes[0].entries(owner, 0, 10_000)
        assert [entry.seq for entry in entries] == [*range(1, total[owner] + 1)]
    for node in nodes:
        await node.close()
    assert deadlocks(postgres) == before


async def test_nodes_that_mark_the_same_chats_never_deadlock(postgres: Postgres) -> None:
    nodes = [await PostgresStore.open(postgres.options()) for _ in range(4)]
    before = deadlocks(postgres)
    for number in range(10):
        chats = [chat(user()) for _ in range(100)]
        await nodes[0].commit(chats, [])
        receipts = [Receipt(each.receiver, each.id) for each in chats]
        outcomes = await asyncio.gather(
            *[
                node.commit([], receipts[::step])
                for node, step in zip(nodes, (1, -1, 1, -1), strict=True)
            ]
        )
        assert all(all(outcome.receipts) for outcome in outcomes), number
    for node in nodes:
        await node.close()
    assert deadlocks(postgres) == before


def deadlocks(postgres: Postgres) -> object:
    [(count,)] = postgres.execute(
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    )
    return count


async def test_an_id_that_is_chosen_on_two_nodes_at_once_is_stored_once(
    postgres: Postgres,
) -> None:
    async with opened(postgres.options()) as one, opened(postgres.options()) as two:
        for _ in range(30):
            same = chat(user(), chosen=ChatId(str(uuid.uuid4())))
            outcomes = await asyncio.gather(*[node.commit([same], []) for node in (one, two)])
            stored = [each for outcome in outcomes for each in outcome.chats]
            assert all(isinstance(each, Stored) for each in stored)
            assert sorted(each.seq or 0 for each in stored if isinstance(each, Stored)) == [0, 1]


async def test_an_id_that_nobody_chose_but_that_exists_is_taken(store: PostgresStore) -> None:
    ann = user()
    first = chat(ann)
    await store.commit([first], [])
    outcome = await store.commit([chat(ann), first, chat(ann)], [Receipt(ann, first.id)])
    assert isinstance(outcome.chats[1], IdTaken)
    assert [each.seq for each in outcome.chats if isinstance(each, Stored)] == [2, 3]
    assert outcome.receipts == [Marked(first.sender)]


async def test_a_fault_of_ours_is_no_outage(store: PostgresStore) -> None:
    ann = user()
    with pytest.raises(ValueError, match="hexadecimal"):
        await store.commit([chat(ann), chat(UserId("no-uuid"))], [])
    with pytest.raises(asyncpg.DataError):
        await store.position(ann, ChatId("no-uuid"))
    assert await store.heads([ann]) == {ann: 0}
    await store.commit([chat(ann)], [])


# --- what is stored -----------------------------------------------------------------------------


async def test_the_tables_may_be_partitioned_by_owner(postgres: Postgres) -> None:
    with postgres.temporary_database() as name:
        options = postgres.options(database=name)
        await (await PostgresStore.open(options)).close()
        for table, owner in (("chats", "receiver"), ("inbox", "owner"), ("heads", "owner")):
            partition(postgres, name, table, owner)
        people = [user() for _ in range(40)]
        async with opened(options) as store:
            first = [chat(person, chosen=ChatId(str(uuid.uuid4()))) for person in people * 3]
            marks = [Receipt(each.receiver, each.id) for each in first[::2]]
            outcome = await store.commit(first, marks)
            assert [each.seq for each in outcome.chats if isinstance(each, Stored)] == (
                [1] * 40 + [2] * 40 + [3] * 40
            )
            # The same ids to others, and the same chats again; receipts of both.
            moved = [
                chat(people[0], chosen=each.id) for each in first if each.receiver != people[0]
            ]
            marks = [Receipt(each.receiver, each.id) for each in [*first[::3], *moved[::2]]]
            outcome = await store.commit([*first, *moved], [*marks, Receipt(user(), first[0].id)])
            assert all(outcome.receipts[:-1])
            assert outcome.receipts[-1] is None
            assert all(isinstance(each, Stored) for each in outcome.chats)
            assert await store.heads(people) == {
                person: 3 if number else 3 + len(moved) for number, person in enumerate(people)
            }
            wanted = {(each.receiver, each.id) for each in [*first, *moved]}
            marked = {(mark.user, mark.chat_id) for mark in marks}
            marked |= {(each.receiver, each.id) for each in first[::2]}
            for person in people:
                mine = {chat_id for receiver, chat_id in wanted if receiver == person}
                entries = await store.received_by(person, ALL)
                assert {entry.chat.id for entry in entries} == mine
                assert [entry.seq for entry in entries] == [*range(1, len(mine) + 1)]
                unreceived = await store.unreceived(person, ALL)
                assert {entry.chat.id for entry in unreceived} == {
                    chat_id for chat_id in mine if (person, chat_id) not in marked
                }
                assert await store.position(person, entries[-1].chat.id) == len(entries)
        sizes = postgres.execute("SELECT count(*) FROM chats GROUP BY tableoid", name)
        assert len(sizes) == 4


def partition(postgres: Postgres, database: str, table: str, owner: str) -> None:
    """Replace a table by one that consists of four."""
    for statement in (
        f"ALTER TABLE {table} RENAME TO {table}_whole",
        f"CREATE TABLE {table} (LIKE {table}_whole INCLUDING ALL) PARTITION BY HASH ({owner})",
        *(
            f"CREATE TABLE {table}_{part} PARTITION OF {table} "
            f"FOR VALUES WITH (MODULUS 4, REMAINDER {part})"
            for part in range(4)
        ),
    ):
        postgres.execute(statement, database)


async def test_moving_a_head_touches_no_index(postgres: Postgres) -> None:
    with postgres.temporary_database() as name:
        people = [user() for _ in range(100)]
        async with opened(postgres.options(database=name)) as store:
            for _ in range(20):
                await store.commit([chat(person) for person in people], [])
        statistics = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
        # The session reports them when it ends.
        [(moves, cheap)] = await reported(postgres, f"{statistics} WHERE relname = 'heads'", name)
    assert moves == 1900
    assert cheap > 1800


async def reported(postgres: Postgres, statement: str, database: str) -> list[tuple[int, ...]]:
    async with asyncio.timeout(10):
        while True:
            rows = await asyncio.to_thread(postgres.execute, statement, database)
            if rows[0][0]:
                return rows
            await asyncio.sleep(0.02)


# --- sessions -----------------------------------------------------------------------------------

CHANGED = "SELECT name FROM pg_settings WHERE source IN ('client', 'session') ORDER BY name"


async def session(store: PostgresStore) -> tuple[set[str], int]:
    """Which settings its sessions have changed, and how many statements they have prepared."""
    ann = user()
    await store.commit([chat(ann)], [])
    await store.commit([chat(ann, chosen=ChatId(str(uuid.uuid4())))], [Receipt(ann, chat(ann).id)])
    await store.entries(ann, 0, 1)
    changed: set[str] = set()
    prepared = 0
    for lane in (store._writer, store._reader):
        changed |= {name for (name,) in await lane.fetch(CHANGED)}
        [(count,)] = await lane.fetch("SELECT count(*) FROM pg_prepared_statements WHERE name > ''")
        prepared += int(count)
    return changed, prepared


async def test_nothing_is_left_in_a_session_that_a_pooler_lends(postgres: Postgres) -> None:
    async with opened(postgres.options(pooler=True)) as store:
        changed, prepared = await session(store)
    assert changed <= {"application_name", "client_encoding", "DateStyle"}
    assert prepared == 0


async def test_statements_are_prepared_once(postgres: Postgres) -> None:
    async with opened(postgres.options()) as store:
        changed, prepared = await session(store)
    assert {"enable_seqscan", "plan_cache_mode", "statement_timeout"} <= changed
    assert prepared > 0


# --- one commit at a time -----------------------------------------------------------------------


@asynccontextmanager
async def another_writes_to(postgres: Postgres, owner: UserId) -> AsyncIterator[None]:
    """Meanwhile, commits to ``owner`` wait."""
    connection = await connect(postgres.options())
    async with connection.transaction():
        await connection.execute(f"SELECT FROM heads WHERE owner = '{owner}' FOR UPDATE")
        yield
    await connection.close()


async def test_reads_go_on_while_a_commit_waits(postgres: Postgres, store: PostgresStore) -> None:
    ann = user()
    await store.commit([chat(ann)], [])
    async with another_writes_to(postgres, ann):
        commit = asyncio.ensure_future(store.commit([chat(ann)], []))
        assert await store.heads([ann]) == {ann: 1}
        assert len(await store.unreceived(ann, ALL)) == 1
        assert not commit.done()
    await commit
    assert await store.heads([ann]) == {ann: 2}


async def test_by_unix_socket(own_postgres: PostgresServer) -> None:
    options = own_postgres.options(host=str(own_postgres.socket_folder), tls="verify-full")
    async with opened(options) as store:
        await store.ping()
