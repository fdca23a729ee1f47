"""Clients whose connections end in memory: what a server writes to them is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Final

from websockets.frames import Frame, Opcode

from parley.socketio.front import FrontProtocol
from parley.socketio.websocket import WebSocketTransport
from tests.unit.socketio import Wire

_HEAD: Final = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
    b"Host: parley.test\r\n"
    b"User-Agent: Mozilla/5.0\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_OPENING: Final = 2
"""Packets that answer a client which connects: Engine.IO's and Socket.IO's."""


class CountingWire(Wire):
    """Counts writes and frames, and tells when there are enough of the latter."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0
        """Writes since the last :meth:`expect`."""
        self._missing = 0
        self._all_here: asyncio.Future[None] | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def lose(self, exc: Exception | None = None) -> None:
        super().lose(exc)
        if self._all_here is not None:
            self._all_here.set_exception(ConnectionError("the server closed the connection"))
            self._all_here = None

    def expect(self, frames: int) -> asyncio.Future[None]:
        """Done when so many frames have been written from now on."""
        self.written, self._missing = 0, frames
        self._all_here = asyncio.get_running_loop().create_future()
        return self._all_here

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += 1
        self._missing -= _count_frames(bytes(data))
        if self._missing <= 0 and self._all_here is not None:
            self._all_here.set_result(None)
            self._all_here = None


class Client:
    """A user's device."""

    def __init__(
        self,
        front: type[FrontProtocol],
        protocol: type[WebSocketTransport],
        token: str,
        *,
        receipts: bool = False,
    ) -> None:
        """``receipts``: it wants to be told what has been received of its user's chats."""
        self.wire = CountingWire()
        self._front = front
        self._config = SimpleNamespace(ws_protocol_class=protocol)
        self._state = SimpleNamespace(connections=set())
        auth = {"token": token, **({"receipts": True} if receipts else {})}
        self._join = frames([f"40{json.dumps(auth, separators=(',', ':'))}".encode()])

    def connect(self) -> asyncio.Future[None]:
        """Ask to be let in, at the server's front; done when it is."""
        opened = self.wire.expect(_OPENING)
        self.wire.protocol = self._front(self._config, self._state, None)
        self.wire.protocol.connection_made(self.wire)
        self.wire.protocol.data_received(_HEAD)
        self.wire.protocol.data_received(self._join)
        return opened

    def say(self, data: bytes) -> None:
        """Send frames, all in one read."""
        self.wire.protocol.data_received(data)

    def leave(self) -> None:
        """Break the connection."""
        self.wire.lose()


def frames(packets: Iterable[bytes]) -> bytes:
    """Engine.IO packets as a client puts them on the wire."""
    return b"".join(Frame(Opcode.TEXT, packet).serialize(mask=True) for packet in packets)


def event(name: str, data: Mapping[str, str], ack: int | None = None) -> bytes:
    """A Socket.IO event as an Engine.IO packet."""
    return f"42{'' if ack is None else ack}{json.dumps([name, data])}".encode()


def _count_frames(data: bytes) -> int:
    """How many frames are in a write, which may begin with the answer to a handshake."""
    at = data.index(b"\r\n\r\n") + 4 if data.startswith(b"HTTP/") else 0
    count = 0
    while at < len(data):
        size, at = data[at + 1], at + 2
        if size > 125:
            wide = 2 if size == 126 else 8
            size, at = int.from_bytes(data[at : at + wide], "big"), at + wide
        at += size
        count += 1
    return count
