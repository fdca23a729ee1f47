"""Moving from the table of a NestJS chat server, with the scripts of its page."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
import pytest

from parley.chat.ports import NewChat, Page
from parley.model import Chat, ChatId, UserId
from parley.store.postgres import PostgresStore
from parley.store.postgres_connect import PostgresOptions
from tests.services.postgres import Postgres

from .pages import file_of

PAGE = "howto/migrate-from-nestjs.md"
USERS = [UserId(str(UUID(int=number << 96 | 0x4000 << 64 | 8 << 60))) for number in range(1, 6)]
EPOCH = 1_700_000_000_000


class Move:
    """A database with the old table, and somebody who follows the page."""

    def __init__(self, options: PostgresOptions, environment: dict[str, str]) -> None:
        self.options = options
        self._environment = environment
        self.chats: list[Chat] = []
        """What the old table holds, in the order in which it was sent."""

    def psql(self, script: str) -> str:
        """Run a script of the page's; what it prints, bare."""
        done = subprocess.run(
            ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--file=-"],
            env=self._environment,
            input=file_of(PAGE, script),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        return done.stdout

    def migrate(self) -> None:
        """The command `parley migrate`."""
        command = [sys.executable, "-m", "parley", "migrate"]
        subprocess.run(command, env=self._environment, check=True, stdout=subprocess.DEVNULL)

    async def write(self, count: int, seed: int) -> None:
        """What the old server did: store chats, in no order of the table's own."""
        chance = random.Random(seed)  # noqa: S311 - the same in every run
        new = [
            Chat(
                ChatId(str(UUID(int=chance.getrandbits(128), version=4))),
                chance.choice(USERS),
                chance.choice(USERS),
                chance.choice(["Hello", "مرحبا", "😀\n\t'\"\\N"]),
                # Some in the same millisecond.
                EPOCH + (len(self.chats) + number) // 2,
                chance.random() < 0.5,
            )
            for number in range(count)
        ]
        self.chats += new
        rows = [(c.id, c.sender, c.receiver, c.message, c.createdAt, c.received) for c in new]
        chance.shuffle(rows)
        await self.execute_many("INSERT INTO chat VALUES ($1, $2, $3, $4, $5, $6)", rows)

    async def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        async with self._connection() as connection:
            await connection.executemany(statement, rows)

    async def execute(self, statement: str) -> list[Mapping[str, object]]:
        async with self._connection() as connection:
            return list(await connection.fetch(statement))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(
            host=self.options.host,
            port=self.options.port,
            user=self.options.user,
            password=self.options.password,
            database=self.options.database,
            ssl=False,
        )
        try:
            yield connection
        finally:
            await connection.close()

    def inbox(self, user: UserId) -> list[Chat]:
        """What a user must find."""
        mine = [chat for chat in self.chats if chat.receiver == user]
        return sorted(mine, key=lambda chat: (chat.createdAt, chat.id))


@pytest.fixture
def move(postgres: Postgres, postgres_environment: dict[str, str]) -> Move:
    options = postgres.options(database=postgres_environment["PGDATABASE"])
    move = Move(options, postgres_environment)
    move.psql("chat-table.sql")
    return move


@asynccontextmanager
async def opened(move: Move) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(move.options)
    try:
        yield store
    finally:
        await store.close()


async def check(move: Move) -> None:
    """Every inbox must be complete, in order and numbered from 1 without a gap."""
    unreceived = sum(not chat.received for chat in move.chats)
    count = len(move.chats)
    assert move.psql("check.sql").split() == [f"{count}|{count}|{unreceived}|{unreceived}", "0"]
    async with opened(move) as store:
        heads = await store.heads(USERS)
        for user in USERS:
            wanted = move.inbox(user)
            entries = await store.entries(user, 0, count)
            assert [entry.chat for entry in entries] == wanted
            assert [entry.seq for entry in entries] == list(range(1, len(wanted) + 1))
            assert heads[user] == len(wanted)
            waiting = [entry.chat for entry in await store.unreceived(user, Page(count))]
            assert waiting == [chat for chat in wanted if not chat.received]


async def test_everything_is_moved_in_order(move: Move) -> None:
    await move.write(300, seed=1)
    move.migrate()
    assert move.psql("move.sql").split() == ["300"]
    await check(move)


async def test_what_came_since_is_moved_by_doing_it_again(move: Move) -> None:
    move.migrate()
    await move.write(100, seed=2)
    move.psql("move.sql")
    await move.write(50, seed=3)
    marked = next(chat for chat in move.chats if not chat.received)
    await move.execute_many("UPDATE chat SET received = true WHERE id = $1", [(marked.id,)])
    move.chats[move.chats.index(marked)] = Chat(
        marked.id, marked.sender, marked.receiver, marked.message, marked.createdAt, received=True
    )
    assert move.psql("move.sql").split() == ["50"]
    await check(move)
    assert move.psql("move.sql").split() == ["0"]
    await check(move)


async def test_parley_goes_on_where_the_old_server_stopped_and_back(move: Move) -> None:
    await move.write(20, seed=4)
    move.migrate()
    move.psql("move.sql")
    alice, bob = USERS[:2]
    new = NewChat(ChatId(str(UUID(int=7, version=4))), alice, bob, "hi", EPOCH + 10**6)
    async with opened(move) as store:
        committed = await store.commit([new], [])
    (stored,) = committed.chats
    assert getattr(stored, "seq", None) == len(move.inbox(bob)) + 1
    move.chats.append(Chat(new.id, alice, bob, "hi", new.created_at, received=False))
    move.psql("back.sql")
    await check(move)


async def test_back_goes_what_was_sent_to_several_under_one_id(move: Move) -> None:
    await move.write(1, seed=5)
    (old,) = move.chats
    move.migrate()
    move.psql("move.sql")
    others = [user for user in USERS if user != old.receiver]
    same = [NewChat(old.id, old.sender, user, "to all", EPOCH + 10**6) for user in others]
    async with opened(move) as store:
        await store.commit(same, [])
    for _ in range(2):  # doing it again changes nothing
        move.psql("back.sql")
        found = await move.execute("SELECT id, receiver, message FROM chat")
        assert sorted((str(row["receiver"]), row["message"]) for row in found) == sorted(
            [(old.receiver, old.message), *((user, "to all") for user in others)]
        )
        assert [str(row["receiver"]) for row in found if str(row["id"]) == old.id] == [old.receiver]
