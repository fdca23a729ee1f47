"""Tokens that become worthless just while their clients come in: nobody slips through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

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


class Node:
    """A gateway on a server of its own; other nodes have the same store and the same links."""

    def __init__(self, name: str, links: Links, store: FaultyStore, kicks: Kicks) -> None:
        clock, bus = SystemClock(), LocalBus()
        self.server = Server(msgspec.convert({}, Options), node=name, peers=links)
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
        self.server.engine.deadlines.close()


class Site:
    """Two nodes."""

    def __init__(self, store: FaultyStore) -> None:
        self.store = store
        self.kicks = Kicks()
        links = Links()
        self.a = Node(A, links, store, self.kicks)
        self.b = Node(B, links, store, self.kicks)

    async def joined(self) -> str:
        """A polling client of the first node that has joined; its session's id."""
        client = PollingClient(self.a.server.engine)
        await client.open()
        assert (await client.post(join())).status == 200
        assert (await client.poll()).startswith(b'40{"sid":')
        assert client.sid is not None
        return client.sid


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with faulty_store(tmp_path) as store:
        site = Site(store)
        yield site
        for node in (site.a, site.b):
            await node.close()


def join() -> bytes:
    token = SIGNER.token(UUID(ALICE), 3600)
    return b"40" + json.dumps({"token": token}).encode()


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


async def test_kicked_while_connecting(site: Site) -> None:
    site.store.hold("heads")
    client = PollingClient(site.a.server.engine)
    await client.open()
    assert (await client.post(join())).status == 200
    await until(lambda: site.store.under_way["heads"])
    await site.kicks.put(KICK)
    await site.a.learn()
    site.store.let_go("heads")
    said = b""
    async with asyncio.timeout(5):
        while b'"token_revoked"' not in said:
            said += await client.poll()
    assert said.startswith(b'40{"sid":'), "it had been let in"
    assert b"See you." in said
    assert site.a.server.engine.sessions == {}


@pytest.mark.parametrize("when", ["before it leaves", "while it arrives"])
async def test_kicked_while_moving(site: Site, when: str) -> None:
    sid = await site.joined()
    await site.kicks.put(KICK)  # the first node doesn't know yet
    websocket = WebSocketClient(site.b.server.engine)
    websocket.dial(sid=sid)
    websocket.say(b"2probe")
    await until(lambda: websocket.packets() == [b"3probe"])
    if when == "before it leaves":
        await site.b.learn()
        websocket.say(b"5")
    else:
        site.store.hold("heads")
        websocket.say(b"5")
        await until(lambda: site.store.under_way["heads"])
        await site.b.learn()
        site.store.let_go("heads")
    assert (await error_of(websocket))["code"] == "token_revoked"
    await until(lambda: not site.b.server.engine.sessions)
    assert site.a.server.engine.sessions == {}
