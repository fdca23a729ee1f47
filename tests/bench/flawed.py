"""A chat server in a few lines that does, once, what no chat server should."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from typing import Any

import jwt
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.services.ports import free_port

FLAWED = 5
"""The number of the message with which something goes wrong."""
TARDY = 0.02
"""Seconds that a slow server takes for a message, one after the other."""
_EVENT = re.compile(r"42(?P<id>\d*)(?P<event>\[.*)", re.DOTALL)


class Flaw(Enum):
    """What goes wrong."""

    NONE = auto()
    LOSS = auto()
    REPEAT = auto()
    DISORDER = auto()
    FOREIGN = auto()
    ERROR_EVENT = auto()
    DISCONNECT = auto()
    NO_ACKNOWLEDGEMENT = auto()
    ERROR_ACKNOWLEDGEMENT = auto()
    REFUSAL = auto()
    SLOWNESS = auto()
    """With every message, but only that: none is lost."""


class FlawedServer:
    """Keeps nothing, and passes messages on at once."""

    def __init__(self, flaw: Flaw) -> None:
        self._flaw = flaw
        self._here: dict[str, ServerConnection] = {}
        self._messages = 0
        self._held: str | None = None

    async def serve(self, connection: ServerConnection) -> None:
        """One client's connection."""
        await connection.send('0{"sid":"engine"}')
        async for packet in connection:
            assert isinstance(packet, str)
            if packet.startswith("40"):
                await self._join(connection, json.loads(packet[2:])["token"])
            elif event := _EVENT.fullmatch(packet):
                await self._send(connection, event["id"], json.loads(event["event"])[1])

    async def _join(self, connection: ServerConnection, token: str) -> None:
        if self._flaw is Flaw.REFUSAL:
            await connection.send('44{"message":"no"}')
            return
        user = jwt.decode(token, options={"verify_signature": False})["sub"]
        self._here[user] = connection
        await connection.send('40{"sid":"socket"}')

    async def _send(self, sender: ServerConnection, number: str, message: dict[str, Any]) -> None:
        self._messages += 1
        flaw = self._flaw if self._messages == FLAWED else Flaw.NONE
        receiver = self._here[message["receiver"]]
        if self._flaw is Flaw.SLOWNESS:
            await asyncio.sleep(TARDY)
        text = "@0.9999@" if flaw is Flaw.FOREIGN else message["message"]
        packet = f"42{json.dumps(['message', {'id': 'an-id', 'message': text}])}"
        packet = packet.replace('["message", ', '["message",')  # as JavaScript writes it
        with suppress(ConnectionClosed):
            await self._deliver(receiver, packet, flaw)
        if number and flaw is not Flaw.NO_ACKNOWLEDGEMENT:
            error = flaw is Flaw.ERROR_ACKNOWLEDGEMENT
            await sender.send(f"43{number}" + ('[{"error":{}}]' if error else "[{}]"))

    async def _deliver(self, receiver: ServerConnection, packet: str, flaw: Flaw) -> None:
        if flaw is Flaw.DISORDER:
            self._held = packet
        elif flaw is not Flaw.LOSS:
            await receiver.send(packet)
        if self._held is not None and flaw is Flaw.NONE:
            packet, self._held = self._held, None
            await receiver.send(packet)
        if flaw is Flaw.REPEAT:
            await receiver.send(packet)
        elif flaw is Flaw.ERROR_EVENT:
            await receiver.send('42["error",{"code":"a_code"}]')
        elif flaw is Flaw.DISCONNECT:
            await receiver.close()


@asynccontextmanager
async def flawed_server(flaw: Flaw) -> AsyncIterator[str]:
    """Its url."""
    port = free_port()
    async with serve(FlawedServer(flaw).serve, "127.0.0.1", port, compression=None):
        yield f"http://127.0.0.1:{port}"
