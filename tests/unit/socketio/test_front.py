"""What new connections turn out to be, by a real uvicorn."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from parley.socketio.door import Bounds, Door
from parley.socketio.endpoint import PollingEndpoint
from parley.socketio.engine import Engine
from parley.socketio.front import front_protocol, is_handshake
from parley.socketio.websocket import websocket_protocol

from . import PATIENCE, new_engine, until

PATH = "/socket.io/"
HANDSHAKE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
    b"Host: parley.test\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"\r\n"
)
POLL = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: parley.test\r\n\r\n"


class Site:
    """A server of one engine."""

    def __init__(self, bounds: Bounds = Bounds()) -> None:  # noqa: B008 - it is frozen
        self.engine: Engine = new_engine()
        self.door = Door(bounds, self.engine.deadlines)
        app = Starlette(routes=[Route(PATH, PollingEndpoint(self.engine))])
        config = uvicorn.Config(
            app,
            http=front_protocol(self.door),
            ws=websocket_protocol({PATH: self.engine}),
            lifespan="off",
            log_config=None,
        )
        self.server = uvicorn.Server(config)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._serving = asyncio.create_task(self.server.serve([self._listener]))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection, which the server knows of when this returns."""
        known = len(self.server.server_state.connections)
        reader, writer = await asyncio.open_connection(*self._listener.getsockname())
        await until(lambda: len(self.server.server_state.connections) > known)
        return reader, writer

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._listener.getsockname()
        return host, port

    async def stop(self) -> None:
        self.server.should_exit = True
        await asyncio.wait_for(self._serving, PATIENCE)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await until(lambda: site.server.started)
    yield site
    await site.stop()


async def head(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)


@pytest.mark.parametrize("size", [1, 100, len(HANDSHAKE)])
async def test_a_handshake_in_pieces_of_any_size(site: Site, size: int) -> None:
    reader, writer = await site.connect()
    for start in range(0, len(HANDSHAKE), size):
        writer.write(HANDSHAKE[start : start + size])
        await asyncio.sleep(0.001)
    assert (await head(reader)).startswith(b"HTTP/1.1 101 ")
    assert await asyncio.wait_for(reader.readexactly(1), PATIENCE) == b"\x81"
    assert len(site.engine.sessions) == len(site.server.server_state.connections) == 1
    writer.close()
    await until(lambda: not site.engine.sessions)
    assert site.server.server_state.connections == set()


async def test_polling_on_one_connection(site: Site) -> None:
    reader, writer = await site.connect()
    for count in (1, 2):
        writer.write(POLL)
        assert (await head(reader)).startswith(b"HTTP/1.1 200 ")
        await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)
        assert len(site.engine.sessions) == count
    writer.close()


async def test_one_that_goes_without_a_word_is_forgotten(site: Site) -> None:
    _, writer = await site.connect()
    writer.close()
    await until(lambda: not site.server.server_state.connections)


async def test_one_without_a_word_does_not_delay_the_end(site: Site) -> None:
    reader, writer = await site.connect()
    await site.stop()
    assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    writer.close()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Connection: keep-alive, Upgrade", b"connection:UPGRADE"),
        (b"Connection: keep-alive, Upgrade", b"Connection: Upgrade , close"),
        (b"Upgrade: websocket", b"UPGRADE:\tWebSocket "),
        (b"Host: parley.test", b"Host: parley.test\r\nX-Any: \xe9\t~"),
    ],
)
def test_forms_of_a_handshake(old: bytes, new: bytes) -> None:
    assert is_handshake(HANDSHAKE)
    assert is_handshake(HANDSHAKE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"GET ", b"POST "),
        (b"GET ", b"\r\nGET "),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"/socket.io/", b"/socket io/"),
        (b"Host: parley.test", b"Host : parley.test"),
        (b"Host: parley.test", b"Host: parley.test\r\n folded"),
        (b"Host: parley.test", b"Host: parley\0test"),
        (b"Host: parley.test", b"Content-Length: 1"),
        (b"Host: parley.test", b"Transfer-Encoding: chunked"),
        (b"Upgrade: websocket", b"Upgrade: h2c"),
        (b"Upgrade: websocket", b"X-Upgrade: websocket"),
        (b"keep-alive, Upgrade", b"keep-alive"),
        (b"keep-alive, Upgrade", b"Upgraded"),
        (b"keep-alive, Upgrade", b"not-Upgrade"),
        (b"\r\n\r\n", b"\r\n\r\n\x81"),
        (b"\r\n\r\n", b"\r\n"),
        (b"\r\n", b"\n"),
    ],
)
def test_what_uvicorn_had_better_look_at(old: bytes, new: bytes) -> None:
    assert old in HANDSHAKE
    assert not is_handshake(HANDSHAKE.replace(old, new))
