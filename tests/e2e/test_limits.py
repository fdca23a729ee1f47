"""Clients that send or connect too much: they are told, and nobody else notices."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import aiohttp
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from .clients import CHAT_KEYS, Device, Devices, numbered, texts
from .conftest import StartServer
from .raw import QUERY, ClosedError, raw_client, sending
from .server import HUSH, PATIENCE, ChatServer, new_user

LIMITS = {
    "RATE_CONNECTION_EVENTS": "50",
    "RATE_CONNECTION_BURST": "100",
    "RATE_PATIENCE": "1",
}
REFUSED = 'parley_rate_limited_total{limit="connection_events"}'


async def flood(device: Device, receiver: str, messages: list[str]) -> list[Any]:
    """Send all at once; the acknowledgements, in the order of the messages."""
    asked = [
        await device.request("send message", {"receiver": receiver, "message": message})
        for message in messages
    ]
    async with asyncio.timeout(3 * PATIENCE):
        return [await answer for answer in asked]


async def test_a_flood_is_refused_and_what_is_refused_is_not_stored(
    start_server: StartServer, devices: Devices, transports: list[str] | None
) -> None:
    server = start_server(**LIMITS)
    ann = await devices.connect(server, transports=transports)
    bob = await devices.connect(server)
    messages = numbered(500)

    answers = await flood(ann, bob.user, messages)

    taken = [answer for answer in answers if answer.keys() == CHAT_KEYS]
    assert 100 <= len(taken) < 500
    assert texts(taken) == messages[: len(taken)], "nothing overtakes what was refused"
    errors = [answer["error"] for answer in answers[len(taken) :]]
    for error in errors:
        assert (error["id"], error["code"], error["event"]) == (
            ann.user,
            "rate_limited",
            "send message",
        )
        assert error["retryable"] is True
        assert type(error["retryAfter"]) is int
        assert error["retryAfter"] > 0
    assert await ann.wait("error", len(errors)) == errors
    assert await bob.wait("message", len(taken)) == taken
    assert await bob.unreceived() == taken
    assert ann.undisturbed
    assert server.metrics()[REFUSED] == len(errors)
    assert server.log().count("is over a limit") == 1


async def test_who_waits_and_sends_again_gets_all_through_in_order(
    start_server: StartServer, devices: Devices, transports: list[str] | None
) -> None:
    server = start_server(**LIMITS)
    ann = await devices.connect(server, transports=transports)
    bob = await devices.connect(server)
    left = [{"receiver": bob.user, "message": text, "id": new_user()} for text in numbered(400)]
    ids = [draft["id"] for draft in left]

    while left:
        asked = [await ann.request("send message", draft) for draft in left]
        async with asyncio.timeout(3 * PATIENCE):
            answers = [await answer for answer in asked]
        errors = [answer["error"] for answer in answers if "error" in answer]
        left = left[len(left) - len(errors) :]
        await asyncio.sleep(max((error["retryAfter"] for error in errors), default=0) / 1000)

    assert [chat["id"] for chat in await bob.wait("message", 400)] == ids
    assert [chat["id"] for chat in await bob.unreceived()] == ids
    assert ann.undisturbed
    assert server.metrics()[REFUSED] > 0


async def test_who_goes_on_is_disconnected_and_comes_back_by_itself(
    start_server: StartServer, devices: Devices
) -> None:
    server = start_server(**LIMITS)
    ann = devices.make(server, transports=["websocket"], reconnection=True)
    await ann.connect()
    bob = await devices.connect(server)

    while not ann.received("disconnect"):
        for _ in range(100):
            await ann.emit("send message", {"receiver": bob.user, "message": HUSH})
        await asyncio.sleep(0.02)

    await ann.wait("connect", 2)
    assert {error["code"] for error in ann.received("error")} == {"rate_limited"}
    assert bob.undisturbed
    stored = await bob.unreceived()
    assert await bob.wait("message", len(stored)) == stored
    closed = server.metrics()['parley_connections_closed_total{reason="flooding client"}']
    assert closed == 1


async def test_a_flood_harms_nobody_else(start_server: StartServer, devices: Devices) -> None:
    """Those who flood are many, and by far the loudest."""
    server = start_server(**LIMITS)
    pairs = [(await devices.connect(server), await devices.connect(server)) for _ in range(3)]
    victim = new_user()
    async with asyncio.TaskGroup() as flooding:
        for _ in range(4):
            flooding.create_task(_flood(server, victim))
        for number, (ann, bob) in enumerate(pairs):
            for text in numbered(60, f"pair {number}"):
                await ann.send(bob.user, text)

    for number, (ann, bob) in enumerate(pairs):
        assert texts(await bob.wait("message", 60)) == numbered(60, f"pair {number}")
        assert ann.undisturbed
        assert bob.undisturbed
        assert ann.received("error") == []
    closed = server.metrics()['parley_connections_closed_total{reason="flooding client"}']
    assert closed == 4


async def test_the_defaults_let_a_long_burst_through(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    ann = await devices.connect(server, transports=transports)
    bob = await devices.connect(server)
    await ann.send_all(bob.user, numbered(3_000))
    assert texts(await bob.wait("message", 3_000, 3 * PATIENCE)) == numbered(3_000)
    assert server.metrics()[REFUSED] == 0


async def test_a_user_has_so_many_connections_and_no_more(
    start_server: StartServer, devices: Devices
) -> None:
    server = start_server(USER_MAX_CONNECTIONS="2")
    user = new_user()
    first, second = [await devices.connect(server, user) for _ in range(2)]
    third = devices.make(server, user)
    refusal = await third.refused()
    assert refusal["data"] == {"code": "too_many_connections"}
    await devices.connect(server)

    await first.disconnect()
    fourth = await devices.connect(server, user)
    chat = await second.send(user)
    assert await fourth.wait("message") == [chat]
    assert server.metrics()['parley_rate_limited_total{limit="user_connections"}'] == 1


async def test_a_user_has_so_many_connects_and_no_more(
    start_server: StartServer, devices: Devices, http: aiohttp.ClientSession
) -> None:
    server = start_server(RATE_USER_CONNECTS="1", RATE_USER_CONNECTS_BURST="3")
    user, other = new_user(), await devices.connect(server)

    codes = await asyncio.gather(*(_join_and_leave(http, server, user) for _ in range(30)))

    assert set(codes) == {0, 1013}
    assert codes.count(0) >= 3
    assert other.undisturbed
    await devices.connect(server)
    metrics = server.metrics()
    refused = codes.count(1013)
    assert metrics['parley_rate_limited_total{limit="user_connects"}'] == refused
    assert metrics['parley_connections_closed_total{reason="too many connects"}'] == refused
    assert server.log().count(f"{user} is over a limit") == 1


async def test_an_address_has_so_many_connects_and_no_more(
    start_server: StartServer, http: aiohttp.ClientSession, devices: Devices
) -> None:
    server = start_server(
        RATE_ADDRESS_CONNECTS="1", RATE_ADDRESS_CONNECTS_BURST="3", TRUSTED_PROXIES="127.0.0.1"
    )

    async def connect(address: str, transport: str) -> int:
        query = {**QUERY, "transport": transport}
        headers = {"X-Forwarded-For": address}
        url = f"{server.url}/socket.io/"
        if transport == "polling":
            async with http.get(url, params=query, headers=headers) as answer:
                return answer.status
        try:
            async with http.ws_connect(url, params=query, headers=headers):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status

    for transport, good in (("websocket", 101), ("polling", 200)):
        noisy, other = f"203.0.113.{good}", f"198.51.100.{good}"
        statuses = [await connect(f"1.1.1.{n}, {noisy}", transport) for n in range(30)]
        assert statuses[:3] == [good] * 3
        assert 429 in statuses
        assert await connect(other, transport) == good
    for _ in range(10):
        await devices.connect(server)  # of the proxy itself
    assert server.metrics()['parley_rate_limited_total{limit="address_connects"}'] > 0


async def _join_and_leave(http: aiohttp.ClientSession, server: ChatServer, user: str) -> int:
    """The code with which the server closed the connection; 0 if it let the user in."""
    async with raw_client(http, server) as client:
        try:
            assert (await client.join(server.token(user))).kind == "0"
        except ClosedError as closed:
            return closed.code
    return 0


async def _flood(server: ChatServer, receiver: str) -> None:
    """Send as much as goes until the server hangs up; what it says is read and dropped."""
    url = f"{server.url.replace('http', 'ws')}/socket.io/?{urlencode(QUERY)}"
    async with connect(url, compression=None, ping_interval=None, proxy=None) as websocket:
        await websocket.recv()
        await websocket.send(f'40{{"token":"{server.token(new_user())}"}}')
        await websocket.recv()
        packets = sending(receiver, [HUSH] * 100, ack=False)

        async def pour() -> None:
            while True:
                for packet in packets:
                    await websocket.send(packet)

        pouring = asyncio.create_task(pour())
        with suppress(ConnectionClosed):
            async with asyncio.timeout(3 * PATIENCE):
                while True:
                    await websocket.recv()
        pouring.cancel()
        await asyncio.wait((pouring,))
