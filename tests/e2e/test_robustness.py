"""Clients that misbehave: the server lives, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
from hashlib import shake_256

import aiohttp
import pytest

from .clients import Devices, numbered, texts
from .conftest import StartServer
from .raw import ClosedError, joined, sending
from .server import PATIENCE, ChatServer, new_user
from .sockets import begin_websocket

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
)
SHAKEN = UPGRADE + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
NOISE = shake_256(b"the same at every run").digest(10_000)
GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(1_000),
    "noise": NOISE,
    "TLS": bytes.fromhex("16030100f8010000f40303") + bytes(240),
    "no HTTP": b"EHLO localhost\r\n\r\n",
    "half a request": b"GET /socket.io/?EIO=4&transp",
    "long path": b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    "bad length": b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n"
    b"Host: localhost\r\nContent-Length: many\r\n\r\nhush",
    "half a body": b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n"
    b"Host: localhost\r\nContent-Length: 100\r\n\r\nhush",
    "no key": UPGRADE + b"\r\n",
    "bad key": UPGRADE + b"Sec-WebSocket-Key: hush\r\n\r\n",
    "noise for frames": SHAKEN + NOISE,
    "zeros for frames": SHAKEN + bytes(10_000),
    "half a frame": SHAKEN + b"\x81\xfe",
}
HOSTILE: dict[str, str] = {
    "deep nesting": f'42["send message",{"[" * 200_000}{"]" * 200_000}]',
    "deep objects": f'42["send message",{"{" * 100_000}',
    "long number": f'42["receive message",{{"chatId":{"9" * 100_000}}}]',
    "long ack id": f'42{"9" * 5_000}["ping"]',
    "many arguments": f'42["ping"{",0" * 200_000}]',
    "many keys": '42["send message",{' + ",".join(f'"{i}":0' for i in range(50_000)) + "}]",
    "too large": f'42["ping","{"x" * 1_000_000}"]',
    "no event": "42[]",
    "a heartbeat's answer that nobody asked for": "3",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_harms_nobody(server: ChatServer, devices: Devices, garbage: bytes) -> None:
    alice = await devices.connect(server)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(garbage)
    try:
        async with asyncio.timeout(PATIENCE):
            await writer.drain()
            writer.write_eof()
            await reader.read()  # to the end: the server hangs up
    except ConnectionError:
        pass
    finally:
        writer.close()
    await alice.send(alice.user)


@pytest.mark.parametrize("packet", HOSTILE.values(), ids=HOSTILE.keys())
async def test_hostile_packets_harm_nobody(
    server: ChatServer, devices: Devices, http: aiohttp.ClientSession, packet: str
) -> None:
    alice = await devices.connect(server)
    async with joined(http, server, new_user()) as client:
        # Answered or closed, whatever fits; but neither silence nor an end of everything.
        try:
            await client.send(packet, '427["ping"]')
            while (await client.packet()).id != 7:
                pass
        except (ClosedError, ConnectionError):
            pass
    chat = await alice.send(alice.user)
    assert await alice.wait("message") == [chat]


async def test_a_burst_of_pings_is_answered_in_full(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    device = await devices.connect(server, transports=transports)
    for _ in range(2_000):
        await device.emit("ping")
    assert len(await device.wait("pong", 2_000, 3 * PATIENCE)) == 2_000
    await device.settle()
    assert len(device.received("pong")) == 2_001


async def test_a_sender_that_vanishes_amid_a_burst_leaves_no_mess(
    own_server: ChatServer, devices: Devices, http: aiohttp.ClientSession
) -> None:
    alice, bob = await devices.connect(own_server), await devices.connect(own_server)
    burst = numbered(5_000)
    async with joined(http, own_server, new_user()) as client:
        sender = asyncio.create_task(client.send(*sending(bob.user, burst)))
        acknowledged = await client.packets(300)
        client.abort()
        await asyncio.gather(sender, return_exceptions=True)
    await _until_connected(own_server, 2)

    last = await alice.send(bob.user, "hush and last")  # stored after all of the burst
    stored = await bob.unreceived()
    assert stored[-1] == last
    assert len(acknowledged) < len(stored) <= len(burst) + 1
    assert texts(stored[:-1]) == burst[: len(stored) - 1]
    assert await bob.wait("message", len(stored)) == stored


async def test_a_sender_that_reads_nothing_is_served_and_stops_nobody(
    server: ChatServer, devices: Devices, http: aiohttp.ClientSession
) -> None:
    alice, bob, user = await devices.connect(server), await devices.connect(server), new_user()
    burst = numbered(5_000)
    receiver = await devices.connect(server, user)
    async with joined(http, server, new_user()) as client:
        sender = asyncio.create_task(client.send(*sending(user, burst)))
        for _ in range(20):
            chat = await alice.send(bob.user)
            assert (await bob.wait("message"))[0] == chat
            bob.received("message").clear()
        await sender
        assert texts(await receiver.wait("message", len(burst), 3 * PATIENCE)) == burst
        acknowledged = await client.packets(len(burst))
    assert [packet.id for packet in acknowledged] == list(range(len(burst)))
    assert texts([packet.data[0] for packet in acknowledged]) == burst


async def test_a_client_that_does_not_read_is_cut_off_and_resumes_later(
    start_server: StartServer, devices: Devices, http: aiohttp.ClientSession
) -> None:
    server = start_server(OUTBOX_MAX_BYTES="100000")
    alice, user = await devices.connect(server), new_user()
    chats = await alice.send_all(user, [f"hush {i} {'x' * 9_000}" for i in range(200)])
    async with joined(http, server, user) as client:
        # 2 MB each: more than the system takes for a client that doesn't read.
        await client.send(*['42["unreceived messages"]'] * 20)
        await _until_connected(server, 1)
    counted = await asyncio.to_thread(server.metrics)
    assert counted["parley_outbox_overflows_total"] == 1
    assert counted['parley_connections_closed_total{reason="slow client"}'] == 1

    bob = await devices.connect(server, user)
    assert await bob.unreceived() == chats
    later = await alice.send(user)
    assert await bob.wait("message") == [later]


async def test_a_flood_of_half_open_connections_harms_nobody(
    server: ChatServer, devices: Devices
) -> None:
    alice = await devices.connect(server)
    writers = []
    for _ in range(200):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(SHAKEN)
        writers.append(writer)
    chat = await alice.send(alice.user)
    for writer in writers:
        writer.close()
    assert await alice.wait("message") == [chat]
    status, body = await asyncio.to_thread(server.get, "/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ok"})


async def test_sessions_that_never_join_come_to_an_end(
    start_server: StartServer, devices: Devices, http: aiohttp.ClientSession
) -> None:
    server = start_server(CONNECT_TIMEOUT="1")
    alice = await devices.connect(server)

    async def begin_polling() -> None:
        async with http.get(f"{server.url}/socket.io/?EIO=4&transport=polling") as response:
            assert response.status == 200
            await response.read()

    await asyncio.gather(*(begin_polling() for _ in range(200)))
    websockets = await asyncio.gather(*(begin_websocket(server) for _ in range(200)))
    await _until_connected(server, 1)
    counted = await asyncio.to_thread(server.metrics)
    assert counted['parley_connections_closed_total{reason="connect timeout"}'] == 400
    for _, writer in websockets:
        writer.close()
    chat = await alice.send(alice.user)
    assert await alice.wait("message") == [chat]


async def _until_connected(server: ChatServer, count: int) -> None:
    """Wait until so many connections are open."""
    async with asyncio.timeout(3 * PATIENCE):
        while (await asyncio.to_thread(server.metrics))["parley_connections"] != count:
            pass


async def test_an_unfinished_post_does_not_delay_the_end(
    own_server: ChatServer, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"{own_server.url}/socket.io/?EIO=4&transport=polling") as response:
        sid = json.loads((await response.text())[1:])["sid"]
    reader, writer = await asyncio.open_connection("127.0.0.1", own_server.port)
    writer.write(
        f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\n"
        "Host: x\r\nContent-Length: 100\r\n\r\n40{".encode()
    )
    await writer.drain()
    own_server.terminate()
    answer = await asyncio.wait_for(reader.readline(), PATIENCE)
    writer.close()
    await asyncio.to_thread(own_server.wait_until_stopped)
    assert b" 400 " in answer
    assert '"level":"error"' not in own_server.log()
