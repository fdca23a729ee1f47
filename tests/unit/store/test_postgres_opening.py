"""Opening a PostgreSQL database: making its tables, and saying why it can't be used."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from parley.chat.ports import NewChat, Receipt
from parley.errors import StoreBroken, StoreUnavailable
from parley.model import ChatId, UserId
from parley.store import postgres_schema
from parley.store.postgres import PostgresOptions, PostgresStore, migrate
from tests.services.postgres import Postgres, PostgresServer

ANN = UserId("00000000-0000-4000-8000-000000000001")
CHAT = NewChat(ChatId("00000000-0000-4000-8000-00000000000c"), ANN, ANN, "hi", 1)


@pytest.fixture
def empty(postgres: Postgres) -> Iterator[PostgresOptions]:
    """An empty database."""
    with postgres.temporary_database() as name:
        yield postgres.options(database=name)


@contextmanager
def role(postgres: Postgres, database: str, options: str = "") -> Iterator[str]:
    """A user without rights, whose name is its password."""
    name = f"parley_test_{secrets.token_hex(6)}"
    postgres.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}' {options}")
    postgres.execute("REVOKE CREATE ON SCHEMA public FROM public", database)
    try:
        yield name
    finally:
        postgres.execute(f"DROP OWNED BY {name}", database)
        postgres.execute(f"DROP ROLE {name}")


async def refusal(options: PostgresOptions) -> str:
    with pytest.raises(StoreBroken) as caught:
        await PostgresStore.open(options)
    text = str(caught.value)
    assert re.fullmatch(r"\S[^\n]*[.;]", text)
    assert not re.search(r"asyncpg|Error|Errno|Traceback|None", text)
    assert not options.password or options.password not in text.replace(options.user, "")
    assert options.address in text
    return text


# --- tables -------------------------------------------------------------------------------------


async def test_creates_and_keeps_what_is_there(empty: PostgresOptions) -> None:
    assert await migrate(empty) == (0, 2)
    assert await migrate(empty) == (2, 2)
    for number in range(1, 3):
        store = await PostgresStore.open(empty)
        await store.commit([CHAT], [])
        assert await store.heads([ANN]) == {ANN: 1}, number
        await store.close()


async def test_goes_on_after_a_migration_that_was_interrupted(
    postgres: Postgres, empty: PostgresOptions
) -> None:
    postgres.execute("CREATE TABLE schema_version (version integer PRIMARY KEY)", empty.database)
    assert await migrate(empty) == (0, 2)


@pytest.mark.parametrize("pooler", [False, True])
async def test_ten_may_open_an_empty_database_at_once(postgres: Postgres, pooler: bool) -> None:
    with postgres.temporary_database() as name:
        options = postgres.options(database=name, pooler=pooler)
        stores = await asyncio.gather(*[PostgresStore.open(options) for _ in range(10)])
        outcomes = await asyncio.gather(*[store.commit([], []) for store in stores])
        await asyncio.gather(*[store.close() for store in stores])
        assert len(outcomes) == 10
        versions = postgres.execute("SELECT version FROM schema_version", name)
        assert versions == [(1,), (2,)]


async def test_the_rights_to_use_the_tables_are_enough(
    postgres: Postgres, empty: PostgresOptions
) -> None:
    other = NewChat(ChatId("00000000-0000-4000-8000-00000000000d"), ANN, ANN, "hi", 1)
    with role(postgres, empty.database) as name:
        least = postgres.options(database=empty.database, user=name, password=name)
        assert "run `parley migrate` with a user that may" in await refusal(least)
        await migrate(empty)
        sentence = await refusal(least)
        for grant in re.findall("GRANT [^;]*", sentence):
            postgres.execute(grant, empty.database)
        store = await PostgresStore.open(least)
        await store.commit([CHAT], [Receipt(ANN, CHAT.id)])
        await store.commit([], [Receipt(ANN, CHAT.id)])
        assert [entry.chat.received for entry in await store.entries(ANN, 0, 9)] == [True]
        assert await store.heads([ANN]) == {ANN: 1}
        postgres.execute(f"REVOKE INSERT ON chats FROM {name}", empty.database)
        with pytest.raises(StoreUnavailable, match="permission denied"):
            await store.commit([other], [])
        postgres.execute(f"GRANT INSERT ON chats TO {name}", empty.database)
        await store.commit([other], [])
        await store.close()


# --- what somebody has to put right -------------------------------------------------------------


async def test_says_that_the_password_is_wrong(own_postgres: PostgresServer) -> None:
    for wrong in ("", "not-the-password"):
        sentence = await refusal(own_postgres.options(password=wrong))
        assert "refuses the password of 'parley'; correct DATABASE_USER and" in sentence


async def test_says_that_the_user_is_unknown(own_postgres: PostgresServer) -> None:
    folder = str(own_postgres.socket_folder)
    sentence = await refusal(own_postgres.options(host=folder, user="nobody-knows"))
    assert "doesn't let 'nobody-knows' in (role" in sentence


async def test_says_that_the_database_is_missing(postgres: Postgres) -> None:
    sentence = await refusal(postgres.options(database="missing"))
    assert "has no database 'missing'; create it, or correct DATABASE_DB" in sentence


async def test_says_that_the_database_is_closed_to_us(
    postgres: Postgres, empty: PostgresOptions
) -> None:
    with role(postgres, empty.database) as name:
        postgres.execute(f"REVOKE CONNECT ON DATABASE {empty.database} FROM public")
        sentence = await refusal(
            postgres.options(database=empty.database, user=name, password=name)
        )
    assert "(permission denied for database" in sentence


async def test_says_that_the_encoding_is_unfit(postgres: Postgres) -> None:
    with postgres.temporary_database("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0") as name:
        sentence = await refusal(postgres.options(database=name))
    assert "has the encoding LATIN1, which can't hold every message" in sentence


async def test_says_that_commits_would_not_be_durable(
    postgres: Postgres, empty: PostgresOptions
) -> None:
    postgres.execute(f"ALTER DATABASE {empty.database} SET synchronous_commit = off")
    assert "has synchronous_commit off and could lose messages" in await refusal(empty)


async def test_says_that_the_server_is_too_old(
    empty: PostgresOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_schema, "OLDEST", 99)
    assert "Parley needs 99 or later" in await refusal(empty)


async def test_says_that_the_schema_is_newer(postgres: Postgres, empty: PostgresOptions) -> None:
    await migrate(empty)
    postgres.execute("INSERT INTO schema_version VALUES (999)", empty.database)
    assert "was written by a newer Parley" in await refusal(empty)


FOREIGN = [
    "CREATE TABLE chats (text text)",
    "CREATE TABLE schema_version AS SELECT '2.0.1-beta' AS version",
    "CREATE TABLE schema_version (installed_rank integer)",
    "CREATE TABLE schema_version AS SELECT 7 AS version",
    "CREATE VIEW heads AS SELECT 1 AS seq",
]


@pytest.mark.parametrize("statement", FOREIGN)
async def test_says_that_tables_are_not_ours(
    postgres: Postgres, empty: PostgresOptions, statement: str
) -> None:
    postgres.execute(statement, empty.database)
    tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    before = postgres.execute(tables, empty.database)
    assert "has tables that are named like Parley's but aren't" in await refusal(empty)
    assert postgres.execute(tables, empty.database) == before


async def test_tables_of_others_do_not_matter(postgres: Postgres, empty: PostgresOptions) -> None:
    postgres.execute("CREATE TABLE users (id integer)", empty.database)
    assert await migrate(empty) == (0, 2)


async def test_says_that_it_met_a_pooler(postgres: Postgres) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10_000)
        text = b"SERROR\0C08P01\0Munsupported startup parameter: plan_cache_mode\0\0"
        writer.write(b"E" + struct.pack("!i", len(text) + 4) + text)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        sentence = await refusal(postgres.options(host="127.0.0.1", port=port))
    assert "is a pooler, such as PgBouncer; set DATABASE_POOLER=true" in sentence


# --- what may heal by itself --------------------------------------------------------------------


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = PostgresOptions(host="127.0.0.1", port=port, user="ann", database="chats")
    with pytest.raises(
        StoreUnavailable, match=rf"PostgreSQL at 127.0.0.1:{port}: connection refused"
    ):
        await PostgresStore.open(options)


async def test_no_such_host() -> None:
    options = PostgresOptions(host="missing.invalid", user="ann", database="chats")
    with pytest.raises(
        StoreUnavailable, match=r"PostgreSQL at missing.invalid:5432: the host is not known"
    ):
        await PostgresStore.open(options)


async def test_no_socket_yet(tmp_path: Path) -> None:
    options = PostgresOptions(host=str(tmp_path), user="ann", database="chats")
    with pytest.raises(StoreUnavailable, match="no such file"):
        await PostgresStore.open(options)


async def test_too_many_connections(postgres: Postgres, empty: PostgresOptions) -> None:
    with role(postgres, empty.database, "CONNECTION LIMIT 0") as name, ExitStack() as stack:
        stack.callback(postgres.execute, f"ALTER ROLE {name} CONNECTION LIMIT -1")
        with pytest.raises(StoreUnavailable, match="too many connections"):
            await PostgresStore.open(
                postgres.options(database=empty.database, user=name, password=name)
            )


async def test_a_standby_is_not_written_to(postgres: Postgres, empty: PostgresOptions) -> None:
    postgres.execute(f"ALTER DATABASE {empty.database} SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match=r"read-only"):
        await PostgresStore.open(empty)
    for pooler in (False, True):
        options = postgres.options(database=empty.database, pooler=pooler)
        with pytest.raises(StoreUnavailable, match=r"read-only"):
            await migrate(options)


async def test_a_server_that_does_not_answer(own_postgres: PostgresServer) -> None:
    own_postgres.pause()
    with pytest.raises(StoreUnavailable, match=r"no answer within 0\.2 seconds"):
        await PostgresStore.open(own_postgres.options(timeout=0.2))
    own_postgres.resume()
    await (await PostgresStore.open(own_postgres.options())).close()


def test_nobody_sees_the_password() -> None:
    options = PostgresOptions(host="db", user="ann", password="secret", database="chats")
    assert repr(options) == str(options) == "PostgresOptions(ann@db:5432/chats)"
