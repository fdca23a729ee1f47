"""Stores do the same for chats of others as for chats that don't exist.

What takes the same statements in the same order, each of which looks a key up that holds the
asking user, takes the same time.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from parley.chat.ports import Receipt, Store
from parley.model import ChatId, UserId
from parley.store.postgres import PostgresStore
from parley.store.sqlite import SqliteStore
from tests.contract.conftest import fill, new, user
from tests.services.postgres import SETTINGS, Installation, PostgresServer

Question: TypeAlias = Callable[[Store, UserId, UserId, ChatId], Awaitable[Any]]
"""Asks as somebody, about somebody else, by the id of a chat."""

QUESTIONS: dict[str, Question] = {
    "mark received": lambda store, me, _, chat: store.commit([], [Receipt(me, chat)]),
    "page of a list": lambda store, me, _, chat: store.position(me, chat),
    "delivery": lambda store, me, other, chat: store.delivered(me, other, [chat]),
    "chosen id": lambda store, me, _, chat: store.commit([new(me, user(), chosen=chat)], []),
    "chosen id, and mark": lambda store, me, _, chat: store.commit(
        [new(me, user(), chosen=chat)], [Receipt(me, chat)]
    ),
}
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_VARYING = re.compile(rf"{_ID.pattern}|(?<=rowid > )\d+")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] ", re.MULTILINE)


def without_ids(value: object) -> str:
    return _ID.sub("ID", msgspec.json.encode(value).decode())


async def answers_and_statements(
    store: Store, statements: Callable[[], list[str]], question: Question
) -> tuple[str, list[str]]:
    """What somebody is told and what is run, for a chat of others and for one that isn't there."""
    ann, eve = user(), user()
    [of_others] = await fill(store, ann, 1)
    nowhere = ChatId(str(uuid.uuid4()))
    await question(store, eve, ann, ChatId(str(uuid.uuid4())))  # connections, prepared statements
    told, run = [], []
    for chat in (of_others.id, nowhere):
        statements()
        told.append(without_ids(await question(store, eve, ann, chat)))
        run.append([_VARYING.sub("N", statement) for statement in statements()])
    assert told[0] == told[1]
    assert run[0] == run[1]
    return told[0], run[0]


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=list(QUESTIONS))
async def test_sqlite(tmp_path: Path, question: Question) -> None:
    store = await SqliteStore.open(tmp_path / "parley.db")
    run: list[str] = []
    try:
        await store.commit([new(user(), user())], [])
        await store.ping()
        for lane in (store._writer, store._reader):  # nothing else sees what is run
            for connection in lane._idle:
                connection.set_trace_callback(run.append)

        def statements() -> list[str]:
            taken = run.copy()
            run.clear()
            return taken

        _, took = await answers_and_statements(store, statements, question)
        assert took
    finally:
        await store.close()


@pytest.fixture(scope="module")
def telling_postgres(postgres_installation: Installation) -> Iterator[PostgresServer]:
    """A server whose log has every statement, with its parameters."""
    settings = {**SETTINGS, "log_statement": "all", "log_checkpoints": "off"}
    with postgres_installation.server(settings) as server:
        yield server


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=list(QUESTIONS))
async def test_postgres(telling_postgres: PostgresServer, question: Question) -> None:
    store = await PostgresStore.open(telling_postgres.options())
    read = 0

    def statements() -> list[str]:
        nonlocal read
        log = telling_postgres.log()
        new_lines, read = log[read:], len(log)
        return _STAMP.sub("", new_lines).splitlines()

    try:
        _, took = await answers_and_statements(store, statements, question)
        assert any("chats" in line for line in took)
    finally:
        await store.close()
