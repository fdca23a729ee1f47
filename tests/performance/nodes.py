"""Whole nodes of Parley, put together as a server is, without its listening socket."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from parley.app import PATH, Parley
from parley.backends import Backends, Place, open_backends
from parley.clock import SystemClock
from parley.model import UserId
from parley.settings_loading import load_settings
from parley.socketio.front import front_protocol
from parley.socketio.websocket import websocket_protocol
from parley.tokens import mint_token
from tests.performance.clients import Client
from tests.services.postgres import Installation, Postgres
from tests.services.valkey import RedisServer, ValkeyServer, running

REDIS_PREFIX: Final = "performance:"
_SECRET: Final = "a-secret-of-the-tests-that-is-long-enough"
_NEVER: Final = "3600"
"""Seconds: what a node does from time to time must not happen by chance in the midst."""
_LASTING: Final = {
    "JWT_SECRET_KEY": _SECRET,
    "PING_INTERVAL": _NEVER,
    "INBOX_CHECK_INTERVAL": _NEVER,
    "REDIS_TIMEOUT": _NEVER,
}

_NOBODY: Final = UserId("00000000-0000-4000-8000-000000000000")


class Servers(NamedTuple):
    """What nodes rest on."""

    folder: Path
    postgres: Postgres
    redis: RedisServer


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Servers that nobody else uses."""
    # PostgreSQL may run as another user, to whom its folder is given away.
    with (
        TemporaryDirectory(prefix="parley-performance-") as folder,
        TemporaryDirectory(prefix="parley-performance-") as postgres_folder,
        Installation(Path(postgres_folder)).server() as postgres,
        running(ValkeyServer(Path(folder) / "valkey")) as redis,
    ):
        yield Servers(Path(folder), postgres, redis)


class Node:
    """One node, and clients of it."""

    def __init__(self, parley: Parley, backends: Backends) -> None:
        self.store, self.bus = backends.store, backends.bus
        self._front = front_protocol(parley.door)
        self._protocol = websocket_protocol({PATH: parley.server.engine})

    def client(self, user: UserId, *, receipts: bool = False) -> Client:
        """A device that has yet to connect."""
        token = mint_token(_SECRET, uuid.UUID(user), 86_400)
        return Client(self._front, self._protocol, token, receipts=receipts)

    async def connected(self, user: UserId, *, receipts: bool = False) -> Client:
        """A device that has connected."""
        client = self.client(user, receipts=receipts)
        await client.connect()
        return client

    async def heard(self) -> None:
        """Return when all that was published has come back from the bus."""
        await self.bus.subscribe(_NOBODY)  # is confirmed after that
        self.bus.unsubscribe(_NOBODY)


@asynccontextmanager
async def embedded(servers: Servers, file: str = "parley.db") -> AsyncIterator[Node]:
    """A node alone, on a SQLite file that no other one has open."""
    database = str(servers.folder / file)
    async with _node({"DATABASE_TYPE": "sqlite", "DATABASE_DB": database}) as node:
        yield node


@asynccontextmanager
async def shared(servers: Servers) -> AsyncIterator[Node]:
    """A node of a cluster of two, on PostgreSQL and Redis."""
    variables = {
        **servers.postgres.environment(),
        **servers.redis.environment(prefix=REDIS_PREFIX),
        "DATABASE_TLS": "disable",
        "NODE_HOST": "127.0.0.1",
    }
    async with _node(variables), _node(variables) as node:
        yield node


@asynccontextmanager
async def _node(variables: dict[str, str]) -> AsyncIterator[Node]:
    settings = load_settings({**_LASTING, **variables}, dotenv=None)
    async with open_backends(settings, Place()) as backends:
        parley = Parley(settings, Place(), backends, SystemClock())
        try:
            await parley.start()
            yield Node(parley, backends)
            await parley.drain()
        finally:
            await parley.close()


def users() -> Iterator[UserId]:
    """New users, one after the other."""
    for number in itertools.count(1):
        yield UserId(f"00000000-0000-4000-8000-{number:012d}")
