"""Servers and clients of the end-to-end tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import aiohttp
import pytest

from tests.services.postgres import Postgres
from tests.services.valkey import RedisServer

from .clients import Devices, devices_of_a_test, mark_as_careless
from .server import PATIENCE, ChatServer, running

StartServer: TypeAlias = Callable[..., ChatServer]

TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": None,  # the client's default: polling, then WebSocket
}


ON_POSTGRES_TOO = (
    "test_errors",
    "test_lists",
    "test_messages",
    "test_order",
    "test_privacy",
    "test_receipts",
)
"""The modules about what every server does, whatever it rests on."""


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChatServer]:
    """A server for all tests of a module, which keep apart by using users of their own.

    It has an SQLite file or, where a module runs on both, two workers on PostgreSQL and Redis.
    """
    with ExitStack() as stack:
        settings: dict[str, str] = {}
        if getattr(request, "param", "sqlite") == "postgres":
            postgres: Postgres = request.getfixturevalue("postgres")
            redis: RedisServer = request.getfixturevalue("redis_server")
            database = stack.enter_context(postgres.temporary_database())
            settings = {**postgres.environment(database), **redis.environment(), "WORKERS": "2"}
        yield stack.enter_context(running(ChatServer(tmp_path_factory.mktemp("parley"), settings)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if "server" in metafunc.fixturenames and module in ON_POSTGRES_TOO:
        metafunc.parametrize("server", ["sqlite", "postgres"], indirect=True, scope="module")


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts servers for one test alone: ``start_server(LIST_MAX_CHATS="50")``."""
    with ExitStack() as stack:

        def start(**settings: str) -> ChatServer:
            folder = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return stack.enter_context(running(ChatServer(folder, settings)))

        yield start


@pytest.fixture
def own_server(start_server: StartServer) -> ChatServer:
    """A server for one test alone, which may stop it, kill it and count on it."""
    return start_server()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_as_careless(items, Path(__file__).parent)


@pytest.fixture
async def devices() -> AsyncIterator[Devices]:
    """Makes the clients of a test."""
    async with devices_of_a_test() as devices:
        yield devices


@pytest.fixture(params=TRANSPORTS)
def transports(request: pytest.FixtureRequest) -> list[str] | None:
    """Each way to connect in turn."""
    return TRANSPORTS[request.param]


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """For clients that speak packets."""
    timeout = aiohttp.ClientTimeout(total=3 * PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield session
