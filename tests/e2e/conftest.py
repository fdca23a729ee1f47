"""Servers and clients of the end-to-end tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias

import aiohttp
import pytest

from .clients import Devices, devices_of_a_test
from .server import PATIENCE, ChatServer

StartServer: TypeAlias = Callable[..., ChatServer]

TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": None,  # the client's default: polling, then WebSocket
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatServer]:
    """A server for all tests of a module, which keep apart by using users of their own."""
    with running(ChatServer(tmp_path_factory.mktemp("parley"))) as server:
        yield server


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


@contextmanager
def running(server: ChatServer) -> Iterator[ChatServer]:
    """Start a server, and stop it in the end; what must hold of every server is checked then."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The Python client drops answers to its polls unread when their status tells it to hang up.
    careless = pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning")
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(careless)


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
