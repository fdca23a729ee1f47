"""Tokens that become worthless just while their clients come in: nobody slips through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.socketio import WebSocketClient, until
from tests.unit.socketio.test_polling import PollingClient

from .gateways import KICK, Site, error_of, join, opened_site


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened_site(tmp_path) as site:
        yield site


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
