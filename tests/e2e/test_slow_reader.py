"""A client that never reads: the server's memory is bounded, others notice nothing."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress

import aiohttp
import psutil

from .clients import Devices, texts
from .conftest import StartServer
from .raw import joined, sending
from .server import HUSH, PATIENCE, ChatServer, new_user
from .sockets import PING, PONG, begin_websocket, text_frame

COUNT = 20_000
WINDOW = 500
"""Messages on their way, so that the sender isn't told that it is too fast."""
PAGE = 2_000
MANY = 100
"""Connections, each with a message that doesn't end."""
PAYLOAD = 1_000_000
ROOM = 60 * 1024 * 1024
"""Bytes; a third of what 20,000 messages of 1 KB take when each is held several times."""


def memory(server: ChatServer) -> int:
    """Of the process, in bytes."""
    return int(psutil.Process(server.pid).memory_info().rss)


async def test_a_client_that_never_reads_costs_nobody_anything(
    start_server: StartServer, devices: Devices, http: aiohttp.ClientSession
) -> None:
    server = start_server(LOG_LEVEL="info")
    user = new_user()
    alice, bob = await devices.connect(server), await devices.connect(server)
    stuck = await silent_client(server, user)
    before = memory(server)
    burst = [f"{HUSH} {number} {'x' * 1_000}" for number in range(COUNT)]
    highest, heard = before, []
    async with joined(http, server, new_user()) as sender:
        for start in range(0, COUNT, WINDOW):
            await sender.send(*sending(user, burst[start : start + WINDOW]))
            heard.append(await alice.send(bob.user))
            await sender.packets(WINDOW)
            highest = max(highest, memory(server))
    assert await bob.wait("message", len(heard)) == heard
    assert alice.undisturbed
    assert bob.undisturbed
    assert highest - before < ROOM
    counted = await asyncio.to_thread(server.metrics)
    assert counted["parley_outbox_overflows_total"] == 1
    stuck.close()

    again = await devices.connect(server, user)
    missed = await again.unreceived(limit=PAGE)
    while len(page := await again.unreceived(after=missed[-1]["id"], limit=PAGE)):
        missed += page
    assert texts(missed) == burst
    later = await alice.send(user)
    assert await again.wait("message") == [later]


async def test_messages_that_never_end_take_no_more_than_the_largest_one(
    start_server: StartServer, devices: Devices
) -> None:
    server = start_server(MAX_PAYLOAD=str(PAYLOAD), LOG_LEVEL="info")
    alice = await devices.connect(server)
    before = memory(server)
    clients = [await begin_websocket(server) for _ in range(MANY)]
    fragment = text_frame(bytes(PAYLOAD // 10), first=False, last=False)
    for reader, writer in clients:
        writer.write(text_frame(b"4", last=False) + 9 * fragment + PING)
        await asyncio.wait_for(reader.readuntil(PONG), PATIENCE)  # all of it has been taken
    assert memory(server) - before < 1.25 * MANY * PAYLOAD + ROOM  # buffers grow by an eighth
    for _, writer in clients:
        writer.write(fragment)
    for reader, _ in clients:
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 3 * PATIENCE)
    counted = await asyncio.to_thread(server.metrics)
    assert counted['parley_connections_closed_total{reason="parse error"}'] == MANY
    for _, writer in clients:
        writer.close()
    chat = await alice.send(alice.user)
    assert await alice.wait("message") == [chat]


async def silent_client(server: ChatServer, user: str) -> asyncio.StreamWriter:
    """A client that has joined, and whose system takes little that it doesn't read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.connect(("127.0.0.1", server.port))
    reader, writer = await begin_websocket(server, sock)
    writer.write(text_frame(f"40{json.dumps({'token': server.token(user)})}".encode()))
    await asyncio.wait_for(reader.readuntil(b"40{"), PATIENCE)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own has it
    return writer
