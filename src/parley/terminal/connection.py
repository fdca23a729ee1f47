"""One Socket.IO connection to a Parley server, over a WebSocket from the start."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidProxy,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)

from parley.socketio import packets, protocol
from parley.socketio.packets import Packet, PacketError, PacketType
from parley.terminal.errors import ClientError, Failure, Lost, Refused, RequestFailed
from parley.terminal.text import one_line

T = TypeVar("T")

_NAMESPACE: Final = "/"
_PATIENCE: Final = 20.0
"""Seconds in which the server must answer."""
_GOODBYE: Final = 2.0
"""Seconds in which it must have agreed to a close."""
_MAX_SIZE: Final = 32 * 1024 * 1024
"""Bytes of one packet; the server's own bound of a list is half of it by default."""
_SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_EXPLAINED: Final = 200
"""Characters of what the server says."""
_STRANGE: Final = "what answers there is no Parley server"

_encode: Final = msgspec.json.Encoder().encode


class Event(msgspec.Struct, frozen=True):
    """Something that the server tells unasked."""

    name: str
    data: msgspec.Raw


class _Open(msgspec.Struct, frozen=True, rename="camel"):
    """The server's first packet.  Times in milliseconds."""

    ping_interval: int = 25_000
    ping_timeout: int = 20_000
    max_payload: int = 1_000_000


class _Refusal(msgspec.Struct, frozen=True):
    """The data of CONNECT_ERROR."""

    message: str


def endpoint(url: str) -> str:
    """Where the server at ``url`` takes WebSockets; ``http://`` may be left out.

    Raises:
        ClientError: it is no URL of a server.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        usable = parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port or an IPv6 address that can't be
        parts, usable = urlsplit(""), False
    if not usable or parts.scheme not in _SCHEMES or parts.query or parts.fragment:
        raise ClientError(
            f"{url} is not the address of a server: write http://HOST:PORT or https://HOST."
        )
    path = f"{parts.path.rstrip('/')}/socket.io/"
    query = f"EIO={protocol.PROTOCOL_VERSION}&transport=websocket"
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, path, query, ""))


async def open_connection(address: str, auth: Mapping[str, object]) -> Connection:
    """Connect to an :func:`endpoint` and join, with ``auth`` as credentials.

    Raises:
        Lost, Refused
    """
    try:
        websocket = await connect(
            address,
            compression=None,
            open_timeout=_PATIENCE,
            close_timeout=_GOODBYE,
            max_size=_MAX_SIZE,
            ping_interval=None,  # the server's own heartbeat is enough
            proxy=None if _is_here(address) else True,
        )
    except (OSError, UnicodeError, WebSocketException, ImportError) as error:
        raise Lost(_why_unreachable(error)) from error
    connection = Connection(websocket)
    try:
        await connection.join(auth)
    except BaseException:
        await connection.close()
        raise
    return connection


class Connection:
    """A connection that is joined, until it is lost or closed."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self._open = _Open()
        self._last_id = 0
        self._answers: dict[int, asyncio.Future[msgspec.Raw]] = {}
        """Those that are awaited, by acknowledgement id."""

    async def join(self, auth: Mapping[str, object]) -> None:
        """Take the server's first packet and join the main namespace; once, and first.

        Raises:
            Lost, Refused
        """
        hello = await self._receive()
        if not hello.startswith(protocol.OPEN):
            raise Lost(_STRANGE)
        self._open = read(hello[1:], _Open)
        await self._send(packets.encode(PacketType.CONNECT, _NAMESPACE, None, _encode(auth)))
        while (packet := await self._next()).type is not PacketType.CONNECT:
            if packet.type is PacketType.CONNECT_ERROR:
                raise Refused(one_line(read(packet.json, _Refusal).message, _EXPLAINED))

    async def next_event(self) -> Event:
        """Wait for the next event; answers that come before it reach those who asked.

        Raises:
            Lost
        """
        while True:
            packet = await self._next()
            if packet.type is PacketType.DISCONNECT:
                raise Lost("the server has disconnected this client")
            if packet.type is PacketType.EVENT:
                name, *data = _values(packet)
                return Event(read(name, str), data[0] if data else msgspec.Raw(b"null"))
            if packet.type is PacketType.ACK:
                asked = self._answers.pop(packet.id or 0, None)
                if asked is not None and not asked.done():
                    asked.set_result(_values(packet)[0])

    async def call(self, event: str, data: object, answer: type[T]) -> T:
        """Emit an event and wait for its acknowledgement, while others wait in ``next_event``.

        Raises:
            RequestFailed: the server answers with an error, or would not take so large a packet.
            Lost
        """
        ack_id = self._last_id = self._last_id + 1
        packet = packets.encode(PacketType.EVENT, _NAMESPACE, ack_id, _encode([event, data]))
        if len(packet) >= self._open.max_payload:
            raise RequestFailed(Failure("It is too large for this server", "too_large", event))
        self._answers[ack_id] = asked = asyncio.get_running_loop().create_future()
        try:
            await self._send(packet)
            async with asyncio.timeout(_PATIENCE):
                return _answered(await asked, answer)
        except TimeoutError:
            raise Lost("the server does not answer") from None
        finally:
            self._answers.pop(ack_id, None)

    async def close(self) -> None:
        """Say goodbye, if anybody is there to hear it."""
        with contextlib.suppress(Lost):
            await self._send(packets.encode(PacketType.DISCONNECT, _NAMESPACE))
        await self._websocket.close()

    # -- within

    async def _next(self) -> Packet:
        """The next Socket.IO packet; heartbeats before it are answered."""
        while True:
            frame = await self._receive()
            if frame.startswith(protocol.MESSAGE):
                return _packet(frame[1:])
            if frame == protocol.PING:
                await self._write(protocol.PONG)
            elif frame == protocol.CLOSE:
                raise Lost("the server has closed the session")

    async def _receive(self) -> bytes:
        silence = (self._open.ping_interval + self._open.ping_timeout) / 1000
        try:
            async with asyncio.timeout(silence):
                return await self._websocket.recv(decode=False)
        except TimeoutError:
            raise Lost("the server has fallen silent") from None
        except ConnectionClosed as closed:
            raise Lost(_why_closed(closed)) from closed

    async def _send(self, packet: bytes) -> None:
        await self._write(protocol.MESSAGE + packet)

    async def _write(self, frame: bytes) -> None:
        try:
            await self._websocket.send(frame, text=True)
        except ConnectionClosed as closed:
            raise Lost(_why_closed(closed)) from closed


def read(json: bytes | msgspec.Raw, kind: type[T]) -> T:
    """What the server sent, as a ``kind``.

    Raises:
        Lost: it is something else.
    """
    try:
        return msgspec.json.decode(json, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Lost(_STRANGE) from error


def read_failure(json: bytes | msgspec.Raw) -> Failure:
    """As :func:`read`; its message is one harmless line."""
    failure = read(json, Failure)
    return msgspec.structs.replace(failure, message=one_line(failure.message, _EXPLAINED))


def _packet(text: bytes) -> Packet:
    try:
        return packets.decode(text)
    except (PacketError, UnicodeDecodeError) as error:
        raise Lost(_STRANGE) from error


def _values(packet: Packet) -> list[msgspec.Raw]:
    """An event's name and data, or what is acknowledged."""
    try:
        values = packets.decode_array(packet.json)
    except PacketError as error:
        raise Lost(_STRANGE) from error
    if not values:
        raise Lost(_STRANGE)
    return values


def _answered(answer: msgspec.Raw, kind: type[T]) -> T:
    value = read(answer, object)
    if isinstance(value, dict) and "error" in value:
        raise RequestFailed(read_failure(_encode(value["error"])))
    return read(answer, kind)


def _why_closed(closed: ConnectionClosed) -> str:
    if closed.rcvd is None:
        return "the connection broke"
    reason = one_line(closed.rcvd.reason, _EXPLAINED)
    return reason or f"the server closed it with code {closed.rcvd.code}"


def _is_here(address: str) -> bool:
    """Whether it is on this machine: the environment's proxy is for others."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _why_unreachable(error: Exception) -> str:
    match error:
        case InvalidStatus():
            return f"what is there answers with HTTP status {error.response.status_code}"
        case InvalidProxy() | ProxyError() | ImportError():  # the latter: of python-socks
            return f"the proxy that is set here is of no use: {one_line(str(error), _EXPLAINED)}"
        case TimeoutError():
            return "it does not answer"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message})"
        case ssl.SSLError():
            return "it does not speak TLS"
        case socket.gaierror() | UnicodeError():
            return "its host name is not known"
        case ConnectionRefusedError():
            return "nothing listens there"
        case OSError():
            return os.strerror(error.errno) if error.errno else "none of its addresses answers"
    return _STRANGE
