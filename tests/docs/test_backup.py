"""Backups are made and restored as their page says."""

from __future__ import annotations

import subprocess
from pathlib import Path

from parley.chat.ports import NewChat
from parley.model import ChatId, UserId
from parley.store.postgres import PostgresStore
from parley.store.sqlite import SqliteStore
from tests.services.postgres import Postgres

from .pages import blocks, file_of

PAGE = "howto/backup.md"
ALICE = UserId("6f1d2f66-7b5c-4a4e-9d5e-0c9b3f1f2a10")
BOB = UserId("b3a1c9d2-5e4f-4f6a-8b7c-2d1e0f9a8b7c")


def chat(number: int) -> NewChat:
    chat_id = ChatId(f"0f8fad5b-d9cb-469f-a165-{number:012}")
    return NewChat(chat_id, ALICE, BOB, f"{number}", 1_760_000_000_000)


def command(part: str) -> str:
    """The commands of the page's block that holds some words."""
    (text,) = [block.text for block in blocks(PAGE) if part in block.text]
    return "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))


def bash(script: str, folder: Path, environment: dict[str, str]) -> None:
    shell = ["bash", "-euo", "pipefail", "-c", script]
    subprocess.run(shell, cwd=folder, env=environment, check=True)


async def test_an_sqlite_file_is_restored_as_it_was(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    store = await SqliteStore.open(tmp_path / "parley.db")
    await store.commit([chat(1)], [])
    settings = {"JWT_SECRET_KEY": "x" * 32, "DATABASE_TYPE": "sqlite"}
    bash(command("VACUUM INTO"), tmp_path, {**environment, **settings})  # while it is open
    await store.commit([chat(2)], [])
    await store.close()

    bash(command("rm -f"), tmp_path, environment)
    store = await SqliteStore.open(tmp_path / "parley.db")
    try:
        assert [entry.chat.message for entry in await store.entries(BOB, 0, 10)] == ["1"]
        (stored,) = (await store.commit([chat(3)], [])).chats
        assert getattr(stored, "seq", None) == 2
    finally:
        await store.close()


async def test_a_postgres_database_is_restored_as_it_was(
    tmp_path: Path, postgres: Postgres, postgres_environment: dict[str, str]
) -> None:
    database = postgres_environment["DATABASE_DB"]
    store = await PostgresStore.open(postgres.options(database=database))
    await store.commit([chat(1)], [])
    bash(file_of(PAGE, "back-up.sh"), tmp_path, postgres_environment)
    await store.commit([chat(2)], [])
    await store.close()

    name = f"{database}_restored"
    restore = file_of(PAGE, "restore.sh").replace("parley_restored", name)
    try:
        bash(restore, tmp_path, postgres_environment)
        store = await PostgresStore.open(postgres.options(database=name))
        try:
            assert [entry.chat.message for entry in await store.entries(BOB, 0, 10)] == ["1"]
        finally:
            await store.close()
    finally:
        postgres.drop_database(name)
