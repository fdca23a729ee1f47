"""Stores that operators may damage, and what the audit says of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Protocol, TypeAlias

import pytest

from parley.chat.ports import NewChat
from parley.errors import StoreBroken
from parley.model import ChatId, UserId
from parley.store import postgres_audit, sqlite_audit
from parley.store.postgres import PostgresStore
from parley.store.sqlite import SqliteStore
from tests.services.postgres import Postgres

from .conftest import NOW

AnyStore: TypeAlias = SqliteStore | PostgresStore

ALICE, BOB, CAROL = (UserId(f"00000000-0000-4000-8000-{number:012d}") for number in range(1, 4))


def chat_id(number: int) -> ChatId:
    return ChatId(f"00000000-0000-4000-9000-{number:012d}")


def chat(number: int, receiver: UserId = BOB) -> NewChat:
    return NewChat(chat_id(number), ALICE, receiver, f"message {number}", NOW)


class Database(Protocol):
    """One that an operator may damage."""

    async def open(self) -> AnyStore: ...
    def execute(self, statement: str) -> None: ...
    async def audit(self, tell: Callable[[str], object]) -> bool: ...


class SqliteFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self) -> AnyStore:
        return await SqliteStore.open(self.path)

    def execute(self, statement: str) -> None:
        with closing(sqlite3.connect(self.path)) as db:
            db.executescript(statement)

    async def audit(self, tell: Callable[[str], object]) -> bool:
        return await sqlite_audit.audit(self.path, tell)


class PostgresDatabase:
    def __init__(self, server: Postgres, name: str) -> None:
        self._server, self._name = server, name
        self.options = server.options(database=name)

    async def open(self) -> AnyStore:
        return await PostgresStore.open(self.options)

    def execute(self, statement: str) -> None:
        for each in statement.split(";"):
            self._server.execute(each, self._name)

    async def audit(self, tell: Callable[[str], object]) -> bool:
        return await postgres_audit.audit(self.options, tell)


async def findings(database: Database) -> dict[str, list[str]]:
    """What the audit shows, by the names of the checks that found something."""
    lines: list[str] = []
    sound = await database.audit(lines.append)
    found: dict[str, list[str]] = {}
    examples: list[str] = []
    for line in lines[1:-1]:
        if line.startswith("      "):
            examples.append(line.strip())
            continue
        name, state, *_ = line.split()
        examples = []
        if state != "ok":
            found[name] = examples
    assert sound == (lines[-1] == "Sound.") == (not found)
    return found


async def refused(audit: Callable[[Callable[[str], object]], Awaitable[bool]]) -> str:
    """Why a store can't be looked at."""
    lines: list[str] = []
    with pytest.raises(StoreBroken) as caught:
        await audit(lines.append)
    assert not lines
    return str(caught.value)
