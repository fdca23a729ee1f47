"""WebSockets frame by frame, for clients that don't even keep to the packets."""

from __future__ import annotations

import asyncio
import socket

from .server import PATIENCE, Entrance

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket%s HTTP/1.1\r\nHost: localhost\r\n"
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_MASK = bytes(4)
PING = b"\x89\x80" + _MASK
PONG = b"\x8a\x00"
_SHORT, _MIDDLE = 126, 65_536

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def begin_websocket(
    server: Entrance, sock: socket.socket | None = None, sid: str = ""
) -> Stream:
    """Shake hands; ``sid`` is of a polling session that is to be taken over."""
    if sock is None:
        port = int(server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    else:
        reader, writer = await asyncio.open_connection(sock=sock)
    writer.write(UPGRADE % (f"&sid={sid}".encode() if sid else b""))
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3 * PATIENCE)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    return reader, writer


def text_frame(payload: bytes, *, first: bool = True, last: bool = True) -> bytes:
    """A masked frame; the mask is zero, which leaves the payload as it is."""
    size = len(payload)
    head = bytes([(0x80 if last else 0) | (1 if first else 0)])
    if size < _SHORT:
        head += bytes([0x80 | size])
    elif size < _MIDDLE:
        head += bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return head + _MASK + payload
