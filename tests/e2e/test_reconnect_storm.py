"""All clients come back at the same moment: after a server was killed and started again."""

from __future__ import annotations

import asyncio
import json

import aiohttp

from .clients import Devices
from .server import PATIENCE, ChatServer, new_user
from .sockets import Stream, begin_websocket, text_frame

TROUBLE = ("parley_errors_total", "parley_requests_refused_total", "parley_strangers_refused_total")
WEBSOCKETS, POLLERS = 400, 200
POLLING = {"EIO": "4", "transport": "polling"}


async def test_all_are_back_after_the_server_was_killed(
    own_server: ChatServer, devices: Devices
) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=12 * PATIENCE)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        users = [new_user() for _ in range(WEBSOCKETS + POLLERS)]

        async def all_come() -> list[Stream]:
            return await asyncio.gather(
                *(by_websocket(own_server, user) for user in users[:WEBSOCKETS]),
                *(by_upgrade(own_server, http, user) for user in users[WEBSOCKETS:]),
            )

        before = await all_come()
        own_server.kill()
        await asyncio.gather(*(reader.read() for reader, _ in before), return_exceptions=True)
        own_server.start()
        after = await all_come()

        alice = await devices.connect(own_server)
        for number in (0, -1):  # those who are back are where they belong
            chat = await alice.send(users[number])
            told = await asyncio.wait_for(after[number][0].readuntil(b"}]"), PATIENCE)
            assert chat["id"].encode() in told
        counted = await asyncio.to_thread(own_server.metrics)
        assert counted["parley_connections"] == len(users) + 1
        for name, total in counted.items():
            assert total == 0 or not name.startswith(TROUBLE), name
        for _, writer in before + after:
            writer.close()


async def by_websocket(server: ChatServer, user: str) -> Stream:
    """Connect and join, as clients with ``transports: ["websocket"]`` do."""
    reader, writer = await begin_websocket(server)
    await join(server, user, reader, writer)
    return reader, writer


async def by_upgrade(server: ChatServer, http: aiohttp.ClientSession, user: str) -> Stream:
    """Begin with polling, join, and change over, as official clients do by default."""
    url = f"{server.url}/socket.io/"
    async with http.get(url, params=POLLING) as response:
        assert response.status == 200, await response.text()
        sid = json.loads((await response.text())[1:])["sid"]
    query = {**POLLING, "sid": sid}
    async with http.post(url, params=query, data=connect_packet(server, user)) as response:
        assert (response.status, await response.text()) == (200, "ok")
    async with http.get(url, params=query) as response:
        assert (await response.text()).startswith("40{")
    reader, writer = await begin_websocket(server, sid=sid)
    writer.write(text_frame(b"2probe"))
    await asyncio.wait_for(reader.readuntil(b"3probe"), 6 * PATIENCE)
    writer.write(text_frame(b"5"))
    return reader, writer


async def join(
    server: ChatServer, user: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    writer.write(text_frame(connect_packet(server, user).encode()))
    await asyncio.wait_for(reader.readuntil(b"40{"), 6 * PATIENCE)


def connect_packet(server: ChatServer, user: str) -> str:
    return f"40{json.dumps({'token': server.token(user)})}"
