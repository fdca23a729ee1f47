"""The buses that the contract suite runs on, and what its tests are made of."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import pytest

from parley.bus.local import LocalBus
from parley.bus.redis import RedisBus
from parley.chat.ports import Bus
from parley.model import UserId
from parley.redis_options import RedisOptions

PATIENCE = 30
"""Seconds after which a test that waits for something gives up.  No test depends on less."""


class Ends(NamedTuple):
    """Two nodes' ends of one bus; of a bus that joins no nodes, the same one twice."""

    publisher: Bus
    subscriber: Bus


@asynccontextmanager
async def local(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    bus = LocalBus()
    yield Ends(bus, bus)
    await bus.close()


@asynccontextmanager
async def valkey(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    async with redis_ends(request.getfixturevalue("redis_server").options()) as ends:
        yield ends


@asynccontextmanager
async def valkey_cluster(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    async with redis_ends(request.getfixturevalue("redis_cluster").options()) as ends:
        yield ends


@asynccontextmanager
async def redis_ends(options: RedisOptions) -> AsyncIterator[Ends]:
    """Two nodes that use the same Redis."""
    async with AsyncExitStack() as stack:
        ends: list[RedisBus] = []
        for _ in Ends._fields:
            ends.append(await RedisBus.open(options))
            stack.push_async_callback(ends[-1].close)
        yield Ends(*ends)


# What a backend yields must not be attached yet; it is closed by the backend.
BUSES: dict[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Ends]]] = {
    "local": local,
    "valkey": valkey,
    "valkey cluster": valkey_cluster,
}


class Node:
    """Both ends of a bus, and what arrived at the subscriber's."""

    def __init__(self, ends: Ends) -> None:
        self.publisher, self.subscriber = ends
        self.arrived: list[tuple[UserId, int, bytes]] = []
        self.heard: list[tuple[UserId, bytes]] = []
        """The notices that arrived."""
        self.restored = 0
        """Times that the subscriber's end has been away and is back."""
        self.threads: set[int] = set()
        self._sent = 0
        if self.publisher is not self.subscriber:
            self.publisher.attach(lambda owner, seq, packet: None, lambda: None)
        self.subscriber.attach(self._receive, self._be_restored)

    def _receive(self, owner: UserId, seq: int, packet: bytes) -> None:
        self.threads.add(threading.get_ident())
        self.arrived.append((owner, seq, packet))

    def listen(self) -> None:
        """Have the subscriber's end listen to notices."""
        self.subscriber.listen(self._hear)

    def _hear(self, owner: UserId, packet: bytes) -> None:
        self.threads.add(threading.get_ident())
        self.heard.append((owner, packet))

    def _be_restored(self) -> None:
        self.threads.add(threading.get_ident())
        self.restored += 1

    async def carries(self, owner: UserId, seq: int, packet: bytes) -> None:
        """Publish until it arrives."""
        async with asyncio.timeout(PATIENCE):
            while (owner, seq, packet) not in self.arrived:
                self.publisher.publish(owner, seq, packet)
                await asyncio.sleep(0.005)

    async def carries_something(self, owner: UserId) -> None:
        self._sent += 1
        await self.carries(owner, self._sent, b"%d" % self._sent)

    async def notifies(self, owner: UserId, packet: bytes = b"notice") -> None:
        """Notify until it is heard."""
        async with asyncio.timeout(PATIENCE):
            while (owner, packet) not in self.heard:
                self.publisher.notify(owner, packet)
                await asyncio.sleep(0.005)

    async def falls_silent(self, owner: UserId, witness: UserId) -> None:
        """Publish for both until only what is for the witness arrives."""
        async with asyncio.timeout(PATIENCE):
            heard = True
            while heard:
                self.arrived.clear()
                for _ in range(3):
                    self.publisher.publish(owner, 1, b"for nobody")
                    await self.carries_something(witness)
                heard = any(each == owner for each, _, _ in self.arrived)

    async def is_away(self) -> None:
        """Return when the subscriber's end has noticed that it is."""
        await eventually(lambda: not self.subscriber.connected)

    async def is_restored(self, times: int) -> None:
        """Return when the subscriber's end has said so often enough."""
        await eventually(lambda: self.restored >= times)

    async def is_back(self) -> None:
        """Return when both ends are connected."""
        await eventually(lambda: self.publisher.connected and self.subscriber.connected)


async def eventually(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


def owner() -> UserId:
    return UserId(str(uuid.uuid4()))
