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
from .raw import RawClient, joined, sending
from .server import HUSH, PATIENCE, ChatServer, new_user
from .sockets import PING, PONG, begin_websocket, text_frame

COUNT = 20_000
SIZE = 1_000
"""Bytes of each message."""
WINDOW = 500
"""Messages on their way, so that the sender isn't told that it is too fast."""
PAGE = 2_000
OUTBOX = 1_000_000
"""Bytes that may wait for a client to read: a twentieth of what it is sent."""
GROWTH = COUNT * SIZE // 2
"""Bytes by which the server may grow while a client doesn't read.

What it keeps for that client is `OUTBOX_MAX_BYTES`, and the batch whose write first found the
system's buffers full: less than 2 MB. The rest is for what doesn't depend on the client: SQLite's
cache, which may still fill up, and the allocator. If it kept every message, it would grow by nearly
twice this.
"""
MANY = 100
"""Connections, each with a message that doesn't end."""
PAYLOAD = 1_000_000
ROOM = 30 * 1024 * 1024
"""Bytes for all but these messages; a second copy of each would take three times that."""


def memory(server: ChatServer) -> int:
    """Of the process, in bytes."""
    return int(psutil.Process(server.pid).memory_info().rss)


async def test_a_client_that_never_reads_costs_nobody_anything(
    start_server: StartServer, devices: Devices, http: aiohttp.ClientSession
) -> None:
    server = start_server(OUTBOX_MAX_BYTES=str(OUTBOX), LOG_LEVEL="info")
    user, burst = new_user(), [f"{HUSH} {number} {'x' * SIZE}" for number in range(COUNT)]
    alice, bob = await devices.connect(server), await devices.connect(server)
    async with joined(http, server, new_user()) as sender:
        # Once to somebody who reads: after that, caches are full.
        reader = await devices.connect(server)
        for end in range(WINDOW, COUNT + 1, WINDOW):
            await send(sender, reader.user, burst[end - WINDOW : end])
            await reader.wait("message", end)
        assert texts(reader.received("message")) == burst
        await reader.disconnect()

        stuck = await silent_client(server, user)
        highest = before = memory(server)
        heard = []
        for end in range(WINDOW, COUNT + 1, WINDOW):
            async with asyncio.TaskGroup() as both:
                both.create_task(send(sender, user, burst[end - WINDOW : end]))
                heard.append(await alice.send(bob.user))
            highest = max(highest, memory(server))
    assert highest - before < GROWTH
    assert await bob.wait("message", len(heard)) == heard
    assert alice.undisturbed
    assert bob.undisturbed
    counted = await asyncio.to_thread(server.metrics)
    assert counted["parley_outbox_overflows_total"] == 1
    assert counted['parley_connections_closed_total{reason="slow client"}'] == 1
    stuck.close()

    again = await devices.connect(server, user)
    missed = await again.unreceived(limit=PAGE)
    while page := await again.unreceived(after=missed[-1]["id"], limit=PAGE):
        missed += page
    assert texts(missed) == burst
    later = await alice.send(user)
    assert await again.wait("message") == [later]


async def send(sender: RawClient, receiver: str, messages: list[str]) -> None:
    """Send messages, which all must be acknowledged."""
    await sender.send(*sending(receiver, messages))
    answers = await sender.packets(len(messages))
    assert texts([answer.data[0] for answer in answers]) == messages


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
