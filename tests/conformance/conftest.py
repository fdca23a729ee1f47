"""A running echo server, and clients which talk to it over real sockets.

`echo_server.py` serves a raw Engine.IO echo on /engine.io/ and Socket.IO on /socket.io/, with a
short heartbeat so that timeouts can be waited for. One server process serves all conformance
tests: what a test does to its own session must not be felt by the next one. When the tests are
over the process must still be alive, and must not have written a traceback.

The clients speak packets. They know framing and the heartbeat, nothing else: whatever a test wants
to see, it compares itself. Every wait in them ends after `PATIENCE` seconds with a `TimeoutError`.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import aiohttp
import pytest

from tests.services.frames import CLOSE, TEXT, encode_frame
from tests.services.ports import free_port

PING_INTERVAL_MS = 300
PING_TIMEOUT_MS = 200
MAX_PAYLOAD = 1_000_000
PATIENCE = 10.0
SEPARATOR = "\x1e"
POLLING: Mapping[str, str] = {"EIO": "4", "transport": "polling"}
WEBSOCKET: Mapping[str, str] = {"EIO": "4", "transport": "websocket"}


@dataclass(frozen=True)
class EchoServer:
    """Where the server under test listens."""

    host: str
    port: int

    @property
    def origin(self) -> str:
        return f"http://{self.host}:{self.port}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoServer]:
    log = tmp_path_factory.mktemp("echo") / "server.log"
    address = EchoServer("127.0.0.1", free_port())
    program = Path(__file__).with_name("echo_server.py")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(program), "--port", str(address.port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            _wait_until_it_answers(address, process, log)
            yield address
            assert process.poll() is None, f"the server died:\n{log.read_text()}"
        finally:
            _stop(process)
    assert "Traceback" not in log.read_text(), log.read_text()


def _wait_until_it_answers(
    address: EchoServer, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        connection = HTTPConnection(address.host, address.port, timeout=5)
        try:
            connection.request("GET", "/engine.io/?EIO=4&transport=polling")
            connection.getresponse()
        except OSError:
            time.sleep(0.05)
        else:
            return
        finally:
            connection.close()
    pytest.fail(f"the echo server did not start:\n{log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield session


@pytest.fixture
async def engineio(server: EchoServer, http: aiohttp.ClientSession) -> AsyncIterator[Endpoint]:
    """The raw Engine.IO echo."""
    async with _endpoint(server, http, "/engine.io/") as endpoint:
        yield endpoint


@pytest.fixture
async def socketio(server: EchoServer, http: aiohttp.ClientSession) -> AsyncIterator[Endpoint]:
    """The Socket.IO echo."""
    async with _endpoint(server, http, "/socket.io/") as endpoint:
        yield endpoint


@pytest.fixture(params=["/engine.io/", "/socket.io/"])
async def endpoint(
    request: pytest.FixtureRequest, server: EchoServer, http: aiohttp.ClientSession
) -> AsyncIterator[Endpoint]:
    """Both paths in turn, for what Engine.IO promises whatever runs on top of it."""
    async with _endpoint(server, http, request.param) as endpoint:
        yield endpoint


@asynccontextmanager
async def _endpoint(
    server: EchoServer, http: aiohttp.ClientSession, path: str
) -> AsyncIterator[Endpoint]:
    endpoint = Endpoint(server, http, path)
    try:
        yield endpoint
    finally:
        await endpoint.hang_up()


async def settle() -> None:
    """Let the server read what was sent, where the protocol has no answer to wait for."""
    await asyncio.sleep(0.1)


def handshake_of(packet: str | bytes) -> dict[str, Any]:
    """The data of an Engine.IO open packet."""
    assert isinstance(packet, str)
    assert packet.startswith("0{"), packet
    data: dict[str, Any] = json.loads(packet[1:])
    return data


async def read_head(reader: asyncio.StreamReader) -> bytes:
    """The status line and headers of a response."""
    async with asyncio.timeout(PATIENCE):
        return await reader.readuntil(b"\r\n\r\n")


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    text: str
    headers: Mapping[str, str]


class ClosedError(Exception):
    """The server closed the WebSocket: with `code`, with none (1005), or without a frame (1006)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Endpoint:
    """One path of the server."""

    def __init__(self, server: EchoServer, http: aiohttp.ClientSession, path: str) -> None:
        self.server = server
        self.path = path
        self._http = http
        self._url = server.origin + path
        self._connections: list[asyncio.StreamWriter] = []

    async def request(
        self,
        method: str,
        query: Mapping[str, str],
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        async with self._http.request(
            method, self._url, params=query, data=body, headers=headers
        ) as response:
            return Answer(response.status, await response.text(), response.headers)

    async def open_polling(self) -> Polling:
        answer = await self.request("GET", POLLING)
        assert answer.status == 200, answer
        return Polling(self, handshake_of(answer.text))

    async def dial(self, query: Mapping[str, str] = WEBSOCKET) -> WebSocket:
        """A WebSocket on which nothing was read yet."""
        return WebSocket(await self._http.ws_connect(self._url, params=query, max_msg_size=0))

    async def open_websocket(self) -> WebSocket:
        """A WebSocket whose open packet was read."""
        websocket = await self.dial()
        handshake_of(await websocket.packet())
        return websocket

    async def connect(
        self, method: str, query: Mapping[str, str], *headers: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of its own, on which the head of a request was sent."""
        reader, writer = await asyncio.open_connection(self.server.host, self.server.port)
        self._connections.append(writer)
        host = f"Host: {self.server.host}:{self.server.port}"
        request = f"{method} {self.path}?{urlencode(query)} HTTP/1.1"
        writer.write("\r\n".join((request, host, *headers, "", "")).encode())
        return reader, writer

    async def open_raw(self) -> RawWebSocket:
        """A WebSocket for frames which a WebSocket client would not send; its open packet read."""
        reader, writer = await self.connect(
            "GET",
            WEBSOCKET,
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        head = await read_head(reader)
        assert head.startswith(b"HTTP/1.1 101 "), head
        websocket = RawWebSocket(reader, writer)
        opcode, payload = await websocket.frame()
        assert opcode == TEXT
        handshake_of(payload.decode())
        return websocket

    async def hang_up(self) -> None:
        """Close what `connect` opened."""
        for writer in self._connections:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def refuses_websocket(self, query: Mapping[str, str]) -> bool:
        """Whether a WebSocket is turned down: by HTTP status 400, or closed before any packet."""
        try:
            websocket = await self.dial(query)
        except aiohttp.WSServerHandshakeError as refusal:
            return refusal.status == 400
        try:
            await websocket.packet()
        except ClosedError:
            return True
        return False


class Polling:
    """A session on HTTP long-polling."""

    def __init__(self, endpoint: Endpoint, handshake: dict[str, Any]) -> None:
        self.handshake = handshake
        self.sid: str = handshake["sid"]
        self._endpoint = endpoint

    async def get(self) -> Answer:
        return await self._endpoint.request("GET", {**POLLING, "sid": self.sid})

    async def post(self, body: str | bytes) -> Answer:
        return await self._endpoint.request("POST", {**POLLING, "sid": self.sid}, body)

    async def send(self, *packets: str) -> None:
        """All packets in one request, which must be accepted."""
        answer = await self.post(SEPARATOR.join(packets))
        assert (answer.status, answer.text) == (200, "ok")

    async def poll(self) -> list[str]:
        """The packets of one poll, which must be accepted."""
        answer = await self.get()
        assert answer.status == 200, answer
        return answer.text.split(SEPARATOR)

    async def receive(self, count: int = 1) -> list[str]:
        """The next packets, in as many polls as it takes; noops left out, pings answered."""
        packets: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while len(packets) < count:
                polled = await self.poll()
                packets += [packet for packet in polled if packet not in ("2", "6")]
                if "2" in polled:
                    await self.send("3")
        return packets

    async def dial_upgrade(self) -> WebSocket:
        return await self._endpoint.dial({**WEBSOCKET, "sid": self.sid})

    async def probe(self) -> WebSocket:
        """A WebSocket which this session may upgrade to: probed, not yet upgraded."""
        websocket = await self.dial_upgrade()
        await websocket.send("2probe")
        assert await websocket.packet() == "3probe"
        return websocket

    async def upgrade(self) -> WebSocket:
        websocket = await self.probe()
        await websocket.send("5")
        return websocket

    async def until_gone(self, patience: float = PATIENCE) -> None:
        """Keep the session alive until the server does not know it any more."""
        async with asyncio.timeout(patience):
            while True:
                if (await self.post("3")).status != 200:
                    break
                await asyncio.sleep(0.05)
        await self.assert_gone()

    async def assert_gone(self) -> None:
        answer = await self.get()
        assert answer.status == 400
        assert json.loads(answer.text) == {"code": 1, "message": "Session ID unknown"}


class WebSocket:
    """A WebSocket, packet by packet."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection

    async def send(self, *packets: str | bytes) -> None:
        for packet in packets:
            if isinstance(packet, str):
                await self._connection.send_str(packet)
            else:
                await self._connection.send_bytes(packet)

    async def packet(self) -> str | bytes:
        """The next packet, whatever it is. Raises `ClosedError` when there is none."""
        message = await self._connection.receive(timeout=PATIENCE)
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data: str | bytes = message.data
            return data
        if message.type is aiohttp.WSMsgType.CLOSE:
            raise ClosedError(message.data or 1005)
        raise ClosedError(1006)

    async def receive(self) -> str | bytes:
        """The next packet that is not a ping; pings are answered."""
        while (packet := await self.packet()) == "2":
            await self._connection.send_str("3")
        return packet

    async def receive_many(self, count: int) -> list[str | bytes]:
        return [await self.receive() for _ in range(count)]

    async def close_code(self, patience: float = PATIENCE) -> int:
        """Read, and answer pings, until the server closes."""
        async with asyncio.timeout(patience):
            while True:
                try:
                    await self.receive()
                except ClosedError as closed:
                    return closed.code
                except ConnectionError:  # a ping could not be answered: the next read says why
                    continue

    async def close(self) -> None:
        await self._connection.close()


class RawWebSocket:
    """A WebSocket, frame by frame and byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *frames: bytes) -> None:
        self._writer.write(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        async with asyncio.timeout(PATIENCE):
            first, length = await self._reader.readexactly(2)
            assert first & 0x70 == 0, "no extension was agreed on"
            assert length & 0x80 == 0, "a server must not mask"
            if length == 126:
                (length,) = struct.unpack("!H", await self._reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self._reader.readexactly(8))
            return first & 0x0F, await self._reader.readexactly(length)

    async def message(self) -> tuple[int, bytes]:
        """The next frame that is not a ping packet; those are answered."""
        while (frame := await self.frame()) == (TEXT, b"2"):
            self.send(encode_frame(TEXT, b"3"))
        return frame

    async def close_code(self) -> int:
        """Read until the close frame; 1005 if it has no code, 1006 if there is no such frame."""
        try:
            while (frame := await self.frame())[0] != CLOSE:
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            return 1006
        return int.from_bytes(frame[1][:2], "big") or 1005

    async def ended(self) -> bool:
        """Wait for the end of the connection; whether nothing came before it."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self._reader.read() == b""
            except ConnectionError:
                return True
