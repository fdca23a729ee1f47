"""What the audit finds, and refuses, in one of the databases only."""

# ruff: noqa: S608 - the statements are made of these tests' own ids

from __future__ import annotations

from pathlib import Path

import pytest

from parley.chat.ports import Revocation
from parley.model import UserId
from tests.services.postgres import Postgres

from .auditing import ALICE, BOB, PostgresDatabase, SqliteFile, chat, chat_id, findings, refused
from .conftest import NOW


class TestSqlite:
    @pytest.fixture
    async def file(self, tmp_path: Path) -> SqliteFile:
        file = SqliteFile(tmp_path / "parley.db")
        store = await file.open()
        await store.commit([chat(1), chat(2)], [])
        await store.close()
        return file

    async def test_an_id_that_is_none(self, file: SqliteFile) -> None:
        file.execute(f"UPDATE chats SET sender = upper('{ALICE[:-1]}a') WHERE seq = 1")
        assert (await findings(file))["ids"] == [
            f"the message {chat_id(1)} from {ALICE[:-1]}A to {BOB}"
        ]

    async def test_a_revocation_of_nobody(self, file: SqliteFile) -> None:
        store = await file.open()
        await store.revocations.put(Revocation(UserId("alice"), NOW, NOW + 1, ""))
        await store.close()
        assert (await findings(file))["users"] == ["the revocation of alice"]

    async def test_what_sqlite_itself_finds(self, file: SqliteFile) -> None:
        file.execute("PRAGMA ignore_check_constraints = ON; UPDATE chats SET received = 7")
        found = await findings(file)
        assert found["file"][0] == "SQLite says: CHECK constraint failed in chats"

    async def test_a_file_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        file = SqliteFile(tmp_path / "parley.db")
        assert "There is no file" in await refused(file.audit)
        assert not file.path.exists()

    async def test_a_file_of_something_else(self, tmp_path: Path) -> None:
        file = SqliteFile(tmp_path / "parley.db")
        file.path.write_bytes(b"nothing of SQLite's" * 100)
        assert "is not an SQLite database" in await refused(file.audit)

    async def test_a_file_without_its_middle(self, file: SqliteFile) -> None:
        content = bytearray(file.path.read_bytes())
        content[4096:8192] = bytes(4096)
        file.path.write_bytes(content)
        assert "is damaged; move it away and restore a backup." in await refused(file.audit)


class TestPostgres:
    async def test_by_a_pooler(self, postgres: Postgres) -> None:
        with postgres.temporary_database() as name:
            database = PostgresDatabase(postgres, name)
            database.options = postgres.options(database=name, pooler=True)
            await (await database.open()).close()
            assert not await findings(database)

    async def test_a_server_that_is_away(self, postgres: Postgres) -> None:
        database = PostgresDatabase(postgres, postgres.database)
        database.options = postgres.options(port=1)
        assert "can't be asked: connection refused." in await refused(database.audit)

    async def test_a_wrong_password(self, postgres: Postgres) -> None:
        database = PostgresDatabase(postgres, postgres.database)
        database.options = postgres.options(password="wrong")
        assert "refuses the password" in await refused(database.audit)
