"""What the tests of a node's company share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from parley.bus.redis import RedisBus
from parley.bus.redis_channels import RedisChannels
from parley.bus.redis_company import Company
from parley.bus.redis_link import RedisLink, Then
from parley.bus.redis_payload import PayloadFormat
from tests.contract.buses import eventually
from tests.services.valkey import ValkeyServer


def published(server: ValkeyServer) -> int:
    """How often anything was published since the server started."""
    stats = server.ask("INFO", "commandstats")
    return int(stats.get("cmdstat_publish", {}).get("calls", 0))


async def settled(bus: RedisBus) -> None:
    """Return when Redis has done what the bus asked it to do."""
    await bus._round_trips()


class Server:
    """Stands for a link and its server: joins at once, and counts when it is told to."""

    def __init__(self) -> None:
        self._channels = RedisChannels(b"", lambda name: self.link, lambda link: None)
        self.company = Company(self._channels, PayloadFormat().own)
        self.asked: list[Callable[[int], None]] = []
        self.said: list[bytes] = []
        """What the company said to the others."""

    @property
    def link(self) -> RedisLink:
        return cast("RedisLink", self)

    def publish(self, name: bytes, head: bytes, packet: bytes) -> bool:
        self.said.append(packet)
        return True

    def hear(self, word: bytes) -> None:
        """Another node says something."""
        assert self.company.heard(self.link, PayloadFormat().own + word)

    def subscribe(self, names: Sequence[bytes], then: Then) -> None:
        for name in names:
            self._channels.subscribed(self.link, name)
        then(None)

    def count(self, name: bytes, then: Callable[[int], None]) -> None:
        self.asked.append(then)

    def answer(self, nodes: int) -> None:
        """Answer what was asked first."""
        self.asked.pop(0)(nodes)


async def server_of_one() -> Server:
    """One that has counted one node."""
    server = Server()
    meeting = asyncio.create_task(server.company.meet())
    await eventually(lambda: bool(server.asked))
    server.answer(1)
    await meeting
    assert server.company.alone
    server.said.clear()
    return server
