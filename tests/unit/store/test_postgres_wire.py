"""The connection for commits, against a real server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from parley.store.postgres_commit import as_array
from parley.store.postgres_connect import connect
from parley.store.postgres_wire import Wire
from tests.services.postgres import Postgres

TEXTS = [
    "",
    "NULL",
    "null",
    " both ends ",
    'a "quoted" word',
    'back\\slash, \\" and \\\\',
    "{curly, brackets}",
    "line\nfeed\r\ttab",
    "\x01\x7f\x80",
    "שלום 👩‍👩‍👧 e\u0301",
    "x" * 100_000,
]


class DribbledWire(Wire):
    """Gets each byte on its own, as a network may deliver them."""

    def data_received(self, data: bytes) -> None:
        for byte in data:
            super().data_received(bytes([byte]))


@pytest.fixture(params=[Wire, DribbledWire])
async def wire(postgres: Postgres, request: pytest.FixtureRequest) -> AsyncIterator[Wire]:
    wire: Wire = request.param(await connect(postgres.options()), keep=True)
    yield wire
    await wire.close()


@pytest.mark.parametrize("text", TEXTS)
async def test_texts_go_there_and_back(wire: Wire, text: str) -> None:
    assert await wire.run("SELECT $1, NULL, $2", [text, "end"]) == [(text, None, "end")]


async def test_arrays_go_there(wire: Wire) -> None:
    statement = "SELECT * FROM unnest($1::text[])"
    assert await wire.run(statement, [as_array(TEXTS)]) == [(text,) for text in TEXTS]
    assert await wire.run(statement, [as_array([])]) == []


@pytest.mark.parametrize("count", [1, 2, 5000])
async def test_ids_go_there(wire: Wire, count: int) -> None:
    ids = [str(uuid.uuid4()) for _ in range(count)]
    statement = "SELECT id, $1 FROM unnest($2::uuid[]) AS id"
    assert await wire.run(statement, ["text", ids]) == [(id_, "text") for id_ in ids]


async def test_more_than_the_socket_takes_at_once_goes_there(wire: Wire) -> None:
    text = "x" * 5_000_000
    assert await wire.run("SELECT length($1), $2", [text, "end"]) == [(str(len(text)), "end")]


async def test_there_may_be_many_rows_or_none(wire: Wire) -> None:
    rows = await wire.run("SELECT n FROM generate_series(1, $1::int) AS n", ["5000"])
    assert rows == [(str(number),) for number in range(1, 5001)]
    assert await wire.run("SELECT n FROM generate_series(1, $1::int) AS n", ["0"]) == []


async def test_a_statement_is_prepared_once(wire: Wire) -> None:
    count = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql IS NOT NULL AND $1 > ''"
    seen = [await wire.run(count, ["a"]) for _ in range(3)]
    assert seen == [[("1",)]] * 3


async def test_notices_are_no_answers(wire: Wire) -> None:
    await wire.run("SET client_min_messages = debug5", [])
    assert await wire.run("DO $$ BEGIN RAISE NOTICE 'listen'; END $$", []) == []
    assert await wire.run("SELECT 1", []) == [("1",)]


async def test_the_servers_errors_are_the_drivers(wire: Wire) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError, match="division by zero"):
        await wire.run("SELECT 1 / $1::int", ["0"])


async def test_a_server_that_says_goodbye_is_quoted(wire: Wire, postgres: Postgres) -> None:
    [(pid,)] = await wire.run("SELECT pg_backend_pid()", [])
    sleeping = wire.run("SELECT pg_sleep(60)", [])
    other = await connect(postgres.options())
    await other.execute(f"SELECT pg_terminate_backend({pid})")
    await other.close()
    with pytest.raises(asyncpg.AdminShutdownError):
        await sleeping
    assert wire.lost
    with pytest.raises(ConnectionError):
        await wire.run("SELECT 1", [])


async def test_what_runs_fails_with_the_reason_of_an_abort(wire: Wire) -> None:
    sleeping = wire.run("SELECT pg_sleep(60)", [])
    await asyncio.sleep(0.01)
    wire.abort(TimeoutError())
    with pytest.raises(TimeoutError):
        await sleeping
    assert wire.lost
    wire.abort(ConnectionError())
