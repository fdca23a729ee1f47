"""A client that speaks packets over a WebSocket, for what official clients would not do."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from .server import PATIENCE, Entrance

QUERY = {"EIO": "4", "transport": "websocket"}
_PACKET = re.compile(r"4(?P<kind>[0-6])(?P<id>[0-9]*)(?P<json>.*)", re.DOTALL)


class ClosedError(Exception):
    """The server closed the WebSocket."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Packet(NamedTuple):
    """A Socket.IO packet of the main namespace."""

    kind: str
    """0 CONNECT, 2 EVENT, 3 ACK, 4 CONNECT_ERROR."""
    id: int | None
    data: Any


class RawClient:
    """A session of which nothing is done by itself but the answers to heartbeats."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self._websocket = websocket

    async def join(self, token: str) -> Packet:
        """Ask to join the main namespace; the answer."""
        await self.send(f"40{json.dumps({'token': token})}")
        return await self.packet()

    async def send(self, *packets: str) -> None:
        """Send packets, each in a message of its own."""
        for packet in packets:
            await self._websocket.send_str(packet)

    async def packet(self) -> Packet:
        """The next packet that is no heartbeat.  Raises ClosedError if none will come."""
        while True:
            message = await self._websocket.receive(timeout=PATIENCE)
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ClosedError(self._websocket.close_code or 1006)
            if message.data == "2":
                await self.send("3")
                continue
            return _parse(message.data)

    async def packets(self, count: int) -> list[Packet]:
        """The next packets."""
        return [await self.packet() for _ in range(count)]

    async def rest(self) -> tuple[list[Packet], int]:
        """All packets until the server closes, and the code with which it does."""
        packets: list[Packet] = []
        async with asyncio.timeout(3 * PATIENCE):
            while True:
                try:
                    packets.append(await self.packet())
                except ClosedError as closed:
                    return packets, closed.code

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._websocket._writer.transport.abort()  # no public method is that rude


@asynccontextmanager
async def raw_client(http: aiohttp.ClientSession, server: Entrance) -> AsyncIterator[RawClient]:
    """A client that has not joined the namespace yet."""
    async with http.ws_connect(
        f"{server.url}/socket.io/", params=QUERY, max_msg_size=0
    ) as websocket:
        opening = await websocket.receive_str(timeout=PATIENCE)
        assert opening.startswith("0{"), opening
        yield RawClient(websocket)


@asynccontextmanager
async def joined(
    http: aiohttp.ClientSession, server: Entrance, user: str, **claims: Any
) -> AsyncIterator[RawClient]:
    """A client of ``user`` that has joined, with a token of these claims."""
    async with raw_client(http, server) as client:
        answer = await client.join(server.token(user, **claims))
        assert answer.kind == "0", answer
        yield client


def sending(receiver: str, messages: list[str], *, ack: bool = True) -> list[str]:
    """Packets that send messages; acknowledgements are asked for by the numbers 0, 1, ..."""
    return [
        f"42{number if ack else ''}"
        + json.dumps(["send message", {"receiver": receiver, "message": message}])
        for number, message in enumerate(messages)
    ]


def _parse(packet: str) -> Packet:
    match = _PACKET.fullmatch(packet)
    assert match is not None, packet
    kind, number, data = match.groups()
    return Packet(kind, int(number) if number else None, json.loads(data) if data else None)
