"""The SQL that operators are given, on a server of its own.

Parley serves with exactly the rights that it gives: with less it doesn't start, and no more is
given.
"""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from parley.chat.ports import Committed, Marked, NewChat, Page, Receipt, Revocation, Stored
from parley.errors import StoreBroken
from parley.model import ChatId, UserId
from parley.store.postgres import PostgresStore, migrate
from parley.store.postgres_connect import PostgresOptions, connect
from parley.store.postgres_schema import NEEDED
from tests.services.deployment import DATABASE, USER, Deployment, back_to_version_1, fetch
from tests.services.postgres import PostgresServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def deployment(own_postgres: PostgresServer) -> Deployment:
    return Deployment(own_postgres)


def partitioning() -> str:
    """The script in docs/operations.md."""
    page = (ROOT / "docs/operations.md").read_text()
    block = re.search(r"```sql\n(.*?)```", page, re.DOTALL)
    assert block
    return block[1]


async def works(options: PostgresOptions) -> None:
    """Do all that a server does; fail if it may not."""
    store = await PostgresStore.open(options)
    try:
        first, second = chat(user()), chat(user(), chosen=True)
        owner = first.receiver
        assert seqs(await store.commit([first, second], [Receipt(owner, first.id)])) == [1, 1]
        assert seqs(await store.commit([second], [])) == [None]
        receipt = Receipt(second.receiver, second.id)
        assert (await store.commit([], [receipt])).receipts == [Marked(second.sender)]
        assert seqs(await store.commit([chat(owner)], [receipt])) == [2]
        assert await store.heads([owner]) == {owner: 2}
        assert [entry.seq for entry in await store.entries(owner, 0, 10)] == [1, 2]
        assert [entry.seq for entry in await store.unreceived(owner, Page(10))] == [2]
        assert [entry.seq for entry in await store.received_by(owner, Page(10))] == [1, 2]
        assert await store.position(owner, first.id) == 1
        assert await store.delivered(first.sender, owner, [first.id]) == {first.id}
        await store.ping()
        before = await store.revocations.newest()
        for until in (1, 2):
            await store.revocations.put(Revocation(owner, 1, until, "out"))
        assert await store.revocations.newest() == before + 2
        [revocation] = await store.revocations.changes(before, 0, 10)
        assert (revocation.user, revocation.until) == (owner, 2)
    finally:
        await store.close()


async def test_the_rights_are_enough_and_each_is_needed(deployment: Deployment) -> None:
    with pytest.raises(StoreBroken, match="parley migrate"):
        await PostgresStore.open(deployment.user)
    await deployment.migrate()
    await works(deployment.user)
    for table, right, column in NEEDED:
        what = f"{right} ({column})" if column else right
        await fetch(deployment.owner, f"REVOKE {right} ON {table} FROM {USER}")
        with pytest.raises(StoreBroken, match=rf"GRANT {re.escape(what)} ON {table} TO"):
            await PostgresStore.open(deployment.user)
        deployment.give_rights()
    await works(deployment.user)


async def test_an_upgrade_names_the_rights_that_are_new(deployment: Deployment) -> None:
    await deployment.migrate()
    await back_to_version_1(deployment.owner)
    with pytest.raises(StoreBroken, match="run `parley migrate` with the user that owns"):
        await PostgresStore.open(deployment.user)
    assert await migrate(deployment.owner) == (1, 2)
    with pytest.raises(StoreBroken) as refused:
        await PostgresStore.open(deployment.user)
    grants = re.findall(r"GRANT [^;]*;", str(refused.value))
    assert grants == [
        f'GRANT {right} ON revocations TO "{USER}";' for right in ("SELECT", "INSERT", "UPDATE")
    ]
    for grant in grants:
        await fetch(deployment.owner, grant)
    await works(deployment.user)


async def test_each_right_that_is_missing_on_the_way_is_named(deployment: Deployment) -> None:
    """With the statement that gives it, which is carried out as it stands there."""
    await deployment.migrate()
    await back_to_version_1(deployment.owner)
    administrator = deployment.server.options(database=DATABASE)
    for right, on in (
        ("CONNECT", f'DATABASE "{DATABASE}"'),
        ("USAGE", "SCHEMA public"),
        ("SELECT", "schema_version"),
    ):
        await fetch(administrator, f"REVOKE {right} ON {on} FROM {USER}")
        with pytest.raises(StoreBroken) as refused:
            await PostgresStore.open(deployment.user)
        assert f'GRANT {right} ON {on} TO "{USER}";' in str(refused.value)
        await fetch(administrator, f'GRANT {right} ON {on} TO "{USER}"')
    await deployment.migrate()
    await works(deployment.user)


async def test_it_ends_its_own_sessions_and_no_others(deployment: Deployment) -> None:
    """As it does with a lost one before it commits on another."""
    await deployment.migrate()
    ending = "SELECT pg_terminate_backend($1)"
    own, of_another = await connect(deployment.user), await connect(deployment.owner)
    try:
        [(ended,)] = await fetch(deployment.user, ending, own.get_server_pid())
        assert ended
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(deployment.user, ending, of_another.get_server_pid())
    finally:
        own.terminate()
        of_another.terminate()


GRANTED = f"""
SELECT table_name::text, privilege_type::text, '' AS column_name
FROM information_schema.table_privileges WHERE grantee = '{USER}'
UNION
SELECT table_name::text, privilege_type::text, column_name::text
FROM information_schema.column_privileges AS every
WHERE grantee = '{USER}' AND NOT has_table_privilege(
  '{USER}', format('%I.%I', table_schema, table_name), privilege_type)"""  # noqa: S608 - a constant
SUPERFLUOUS = f"""
SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls,
  has_database_privilege('{USER}', '{DATABASE}', 'CREATE'),
  has_database_privilege('{USER}', '{DATABASE}', 'TEMPORARY'),
  has_schema_privilege('{USER}', 'public', 'CREATE'),
  EXISTS (SELECT FROM pg_auth_members WHERE member = pg_roles.oid)
FROM pg_roles WHERE rolname = '{USER}'"""  # noqa: S608 - a constant
NOT_ALLOWED = (
    "DELETE FROM chats",
    "TRUNCATE inbox",
    "UPDATE chats SET message = 'never said'",
    "UPDATE chats SET sender = receiver",
    "UPDATE inbox SET seq = seq + 1",
    "INSERT INTO schema_version (version) VALUES (99)",
    "CREATE TABLE mine ()",
    "CREATE TEMPORARY TABLE mine ()",
    "CREATE SCHEMA mine",
    "ALTER TABLE chats ADD mine int",
    "DROP TABLE heads",
    "COPY chats TO PROGRAM 'cat'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT rolpassword FROM pg_authid",
)


async def test_nothing_more_is_granted(deployment: Deployment) -> None:
    await deployment.migrate()
    granted = {tuple(row) for row in await fetch(deployment.owner, GRANTED)}
    assert granted == set(NEEDED)
    assert [tuple(row) for row in await fetch(deployment.owner, SUPERFLUOUS)] == [(False,) * 5]
    for statement in NOT_ALLOWED:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(deployment.user, statement)


async def test_the_tables_can_be_partitioned(deployment: Deployment) -> None:
    await migrate(deployment.owner)
    deployment.run(partitioning(), deployment.owner)
    deployment.give_rights()
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


def chat(receiver: UserId, *, chosen: bool = False) -> NewChat:
    return NewChat(ChatId(str(uuid4())), user(), receiver, "hello", 1, chosen_id=chosen)


def seqs(committed: Committed) -> list[int | None]:
    return [outcome.seq for outcome in committed.chats if isinstance(outcome, Stored)]
