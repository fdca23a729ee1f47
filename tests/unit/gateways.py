"""Whole gateways for tests: two nodes with one store, whose clients are packets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from parley.bus.local import LocalBus
from parley.chat.auth import Authenticator, Claims
from parley.chat.delivery import Delivery
from parley.chat.listing import Listing
from parley.chat.ports import Revocation
from parley.chat.receipts import Receipts
from parley.chat.revocations import Revocations
from parley.chat.service import ChatService, Hooks, Limits
from parley.clock import SystemClock
from parley.gateway import Gateway, Rules, encode_message, encode_received
from parley.keys.ring import KeyRing
from parley.keys.secret import SecretKey
from parley.model import UserId
from parley.socketio.options import Options
from parley.socketio.peer_server import PeerServer
from parley.socketio.server import Server
from parley.tokens import Signer
from tests.unit.chat import ALICE, FaultyStore, Kicks, faulty_store
from tests.unit.socketio import WebSocketClient, until
from tests.unit.socketio.processes import A, B, Links
from tests.unit.socketio.test_polling import PollingClient

SIGNER = Signer("a secret of the tests " * 2)
KICK = Revocation(ALICE, issued_before=2**50, until=2**50, reason="See you.")
"""Of all tokens that the signer makes."""


class Node:
    """A gateway on a server of its own; other nodes have the same store and the same links."""

    def __init__(
        self, name: str, links: Links, store: FaultyStore, kicks: Kicks, options: Options
    ) -> None:
        clock, bus = SystemClock(), LocalBus()
        self.server = Server(options, node=name, peers=links)
        links.join(name, PeerServer(self.server.engine))
        self.delivery = Delivery(store, bus, encode_message)
        receipts = Receipts(store, bus, encode_received)
        hooks = Hooks(self.server.engine.batch, lambda size, seconds: None)
        self.service = ChatService(store, self.delivery, receipts, clock, Limits(1000, 1000), hooks)
        self.revocations = Revocations(kicks, bus, clock, every=0.001)
        ring = KeyRing([SecretKey(SIGNER.secret)])
        authenticator = Authenticator(ring, Claims(), self.revocations, clock)
        listing = Listing(store, max_chats=10, max_bytes=100_000)
        rules = Rules(authenticator, self.service, listing, self.delivery, receipts)
        self.gateway = Gateway(self.server, rules, clock)

    async def learn(self) -> None:
        """Have it know what is revoked."""
        await self.revocations.start(self.gateway.check_users)
        assert self.revocations.find(ALICE, 0) is not None

    async def close(self) -> None:
        await self.revocations.close()
        await self.service.close()
        await self.delivery.shut_down()
        self.server.engine.close()


class Site:
    """Two nodes."""

    def __init__(self, store: FaultyStore, options: Options) -> None:
        self.store = store
        self.kicks = Kicks()
        links = Links()
        self.a = Node(A, links, store, self.kicks, options)
        self.b = Node(B, links, store, self.kicks, options)

    async def joined(self) -> str:
        """A polling client of the first node that has joined; its session's id."""
        client = PollingClient(self.a.server.engine)
        await client.open()
        assert (await client.post(join())).status == 200
        assert (await client.poll()).startswith(b'40{"sid":')
        assert client.sid is not None
        return client.sid


@asynccontextmanager
async def opened_site(folder: Path, options: Options | None = None) -> AsyncIterator[Site]:
    """Two nodes, until the test is over."""
    async with faulty_store(folder) as store:
        site = Site(store, options or Options())
        yield site
        for node in (site.a, site.b):
            await node.close()


def join(user: UserId = ALICE, ttl: int = 3600) -> bytes:
    """The packet with which a client joins, with a token that lives so many seconds."""
    return b"40" + json.dumps({"token": SIGNER.token(UUID(user), ttl)}).encode()


async def error_of(websocket: WebSocketClient) -> dict[str, Any]:
    """The error that the client is sent before its connection closes."""
    seen: list[bytes] = []

    def told() -> bool:
        seen.extend(payload for _, payload in websocket.frames())
        return any(packet.startswith(b'42["error"') for packet in seen)

    await until(told)
    (packet,) = (packet for packet in seen if packet.startswith(b'42["error"'))
    error: dict[str, Any] = json.loads(packet[2:])[1]
    return error
