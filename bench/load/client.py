"""A client: one Socket.IO connection in the main namespace, over a WebSocket from the start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from .faults import Faults
from .users import User

PATIENCE: Final = 60.0
"""Seconds after which a connection that is not complete has failed."""
PATH: Final = "/socket.io/?EIO=4"
_SHOWN: Final = 120
"""Bytes of a packet that are told if it is a fault."""
_BUFFER: Final = 1024
"""Bytes that each connection reads into at first, of which there may be very many."""


class Client(WSListener):
    """One device of a user: joins, answers heartbeats, and hands on what is sent to it."""

    def __init__(self, user: User, faults: Faults) -> None:
        self.user = user
        self.on_message: Callable[[bytes], None] = _ignore
        """Gets each packet with a `message` event, whole."""
        self.on_acknowledgement: Callable[[bytes], None] = _ignore
        """Gets each packet with an acknowledgement, whole."""
        self._faults = faults
        self._joined = asyncio.get_running_loop().create_future()
        self._leaving = False
        self._transport: WSTransport | None = None

    async def open(self, url: str, source: str | None = None) -> None:
        """Connect and join, from the address ``source`` if one is given.

        Raises ConnectionError, or whatever else prevents a connection.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await open_websocket(url, self, self.user.token, source)
                await self._joined
        except BaseException:
            if self._transport is not None:
                await self.abort()
            raise

    def send(self, packet: bytes) -> None:
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, packet)

    async def close(self) -> None:
        """Leave as the official client does; returns when the server has closed the connection."""
        assert self._transport is not None
        self._leaving = True
        self.send(b"41")
        await close_websocket(self._transport)

    async def abort(self) -> None:
        """End the connection without a word, if it has not ended."""
        assert self._transport is not None
        self._leaving = True
        await abort_websocket(self._transport)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if not self._joined.done():
            self._fail("disconnected before it had joined")
        elif not self._leaving:
            self._faults.count("disconnected")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.TEXT and frame.fin:
            self._receive(frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.CLOSE:
            answer_close(transport)
        else:
            self._faults.count(f"frame of type {frame.msg_type}")

    def _receive(self, packet: bytes) -> None:
        kind = packet[:2]
        if kind == b"42":
            if packet.startswith(b'42["message",'):
                self.on_message(packet)
            elif packet.startswith((b'42["error"', b'42["exception"')):
                self._faults.count(_text(packet))
        elif kind == b"43":
            self.on_acknowledgement(packet)
        elif packet == b"2":
            self.send(b"3")
        elif kind == b"40":
            if not self._joined.done():
                self._joined.set_result(None)
        elif kind == b"44":
            self._fail(_text(packet))
        elif kind[:1] == b"0":
            self.send(join_packet(self.user.token))
        else:
            self._faults.count(_text(packet))

    def _fail(self, why: str) -> None:
        if not self._joined.done():
            self._joined.set_exception(ConnectionError(why))


async def open_websocket(
    url: str, listener: WSListener, token: str, source: str | None = None
) -> None:
    """Open a WebSocket for a listener, at a url that holds the session's id if there is one.

    The token is sent in a header, too, because some servers look for it only there.
    """
    await ws_connect(
        lambda: listener,
        url.replace("http://", "ws://", 1),
        extra_headers=authorization(token),
        websocket_handshake_timeout=PATIENCE,
        read_buffer_init_size=_BUFFER,
        local_addr=None if source is None else (source, 0),
    )


async def close_websocket(transport: WSTransport) -> None:
    """The closing handshake; returns when the connection has ended."""
    transport.send_close(WSCloseCode.OK)
    await transport.wait_disconnected()


async def abort_websocket(transport: WSTransport) -> None:
    """End the connection without a word; returns when it has ended."""
    transport.disconnect(graceful=False)
    await transport.wait_disconnected()


def answer_close(transport: WSTransport) -> None:
    """End the connection of which the server has said that it is closed."""
    if not transport.is_close_frame_sent:
        transport.send_close(WSCloseCode.OK)
    transport.disconnect()


async def open_clients(
    clients: Iterable[tuple[Client, str]],
    faults: Faults,
    connecting: int,
    source: str | None = None,
) -> list[Client]:
    """Those that have joined, each at its url, in the same order; the others are faults."""
    gate = asyncio.Semaphore(connecting)

    async def open_one(client: Client, url: str) -> Client | None:
        async with gate:
            try:
                await client.open(f"{url}{PATH}&transport=websocket", source)
            except Exception as error:  # whatever it is, this client is not there
                faults.count(failure(error))
                return None
            return client

    opened = await asyncio.gather(*(open_one(client, url) for client, url in clients))
    return [client for client in opened if client is not None]


def failure(error: Exception) -> str:
    """How a connection that failed is told of."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"connect: {type(error).__name__} {error}"


def authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def join_packet(token: str) -> bytes:
    return b'40{"token":"%s"}' % token.encode()


def _text(packet: bytes) -> str:
    return packet[:_SHOWN].decode("utf-8", "replace")


def _ignore(packet: bytes) -> None:
    """Nobody asked for it."""
