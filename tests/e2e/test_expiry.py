"""Tokens that expire while their clients are connected."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import aiohttp

from .clients import Devices
from .raw import joined
from .server import PATIENCE, ChatServer, new_user

LIFETIME = 1.0
"""Seconds; enough to connect, whatever else the machine does."""


def one_short_token_then_good_ones(server: ChatServer, user: str) -> Callable[[], dict[str, str]]:
    """What an application's ``auth`` callback does: it fetches a token each time."""
    made: list[str] = []

    def auth() -> dict[str, str]:
        claims = {} if made else {"exp": time.time() + LIFETIME}
        made.append(server.token(user, **claims))
        return {"token": made[-1]}

    return auth


async def test_clients_come_back_by_themselves_with_a_fresh_token(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    device = devices.make(server, transports=transports, reconnection=True)
    await device.connect(one_short_token_then_good_ones(server, device.user))
    (error,) = await device.wait("error")
    assert error.keys() == {"id", "message", "code"}
    assert (error["id"], error["code"]) == (device.user, "token_expired")

    await device.wait("connect", 2)
    assert len(device.received("disconnect")) == 1
    assert device.received("connect_error") == []
    chat = await device.send(device.user)
    assert await device.wait("message") == [chat]


async def test_expiry_closes_the_transport_and_not_the_namespace(
    server: ChatServer, http: aiohttp.ClientSession
) -> None:
    user = new_user()
    async with joined(http, server, user, exp=time.time() + LIFETIME) as client:
        packets, close_code = await client.rest()
    # A DISCONNECT packet would keep official clients from coming back.
    ((kind, _, (event, error)),) = packets
    assert (kind, event, error["code"]) == ("2", "error", "token_expired")
    assert close_code == 1000


async def test_a_device_with_a_longer_lasting_token_stays(
    server: ChatServer, devices: Devices
) -> None:
    leaving, user = devices.make(server), new_user()
    staying = await devices.connect(server, user)
    await leaving.connect({"token": server.token(user, exp=time.time() + LIFETIME)})
    await leaving.wait("disconnect")
    chat = await staying.send(user)
    assert await staying.wait("message") == [chat]
    assert staying.received("error") == []


async def test_a_client_between_two_polls_learns_why_it_was_closed(
    server: ChatServer, http: aiohttp.ClientSession
) -> None:
    url = f"{server.url}/socket.io/?EIO=4&transport=polling"
    async with http.get(url) as response:
        session = f"{url}&sid={json.loads((await response.text())[1:])['sid']}"
    before = (await asyncio.to_thread(server.metrics))["parley_connections_closed_total" + FORCED]
    token = server.token(new_user(), exp=time.time() + LIFETIME)
    async with http.post(session, data=f"40{json.dumps({'token': token})}") as response:
        assert await response.text() == "ok"
    await _until_closed(server, before + 1)

    async with http.get(session) as response:
        connect, error, *_ = (await response.text()).split("\x1e")
    assert connect.startswith("40{")
    assert json.loads(error[2:])[1]["code"] == "token_expired"
    async with http.get(session) as response:
        assert response.status == 400


FORCED = '{reason="forced close"}'


async def _until_closed(server: ChatServer, count: float) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            metrics = await asyncio.to_thread(server.metrics)
            if metrics["parley_connections_closed_total" + FORCED] >= count:
                return
