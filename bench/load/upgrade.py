"""A client that connects as the official one does by default: long-polling, then a WebSocket.

After the first answer the official client does three things at once: it posts CONNECT, opens a
WebSocket, and polls.  When the WebSocket has answered the probe, the client waits until the poll
and the post are answered, for which the server may have to send a noop, and switches over.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Final

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport

from .client import (
    PATH,
    PATIENCE,
    abort_websocket,
    answer_close,
    authorization,
    close_websocket,
    join_packet,
    open_websocket,
)
from .http import HttpClient
from .users import User

_SEPARATOR: Final = b"\x1e"


class _Opening(msgspec.Struct):
    """What a server says first; the rest of it is not needed."""

    sid: str


class UpgradingClient(WSListener):
    """One device of a user, which does no more than connect and leave again."""

    _times = itertools.count()

    def __init__(self, user: User, url: str, *, keep_alive: bool) -> None:
        loop = asyncio.get_running_loop()
        self._user = user
        self._url = url
        self._http = HttpClient(url, authorization(user.token), keep_alive=keep_alive)
        self._path = f"{PATH}&transport=polling"
        self._transport: WSTransport | None = None
        self._probing: asyncio.Task[None] | None = None
        self._joined: asyncio.Future[None] = loop.create_future()
        self._probed: asyncio.Future[None] = loop.create_future()
        self._pausing = False
        """No further poll is begun."""

    async def open(self) -> None:
        """Returns when the namespace is joined and the upgrade done.

        Raises ConnectionError, or whatever else prevents it.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                await self._open()
        except BaseException:
            await self._abort()
            raise
        finally:
            self._http.close()

    async def close(self) -> None:
        """Leave as the official client does; returns when the server has closed the connection."""
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, b"41")
        await close_websocket(self._transport)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.send(WSMsgType.TEXT, b"2probe")

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._fail("disconnected before the upgrade was done")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            answer_close(transport)
            return
        packet = frame.get_payload_as_bytes()
        if packet != b"3probe":
            self._receive(packet)
        elif not self._probed.done():
            self._probed.set_result(None)

    async def _open(self) -> None:
        opening, *packets = (await self._http.get(self._target())).split(_SEPARATOR)
        if not opening.startswith(b"0"):
            raise ConnectionError(f"an unknown opening: {opening[:120]!r}")
        sid = msgspec.json.decode(opening[1:], type=_Opening).sid
        for packet in packets:
            self._receive(packet)
        self._path += f"&sid={sid}"
        websocket = f"{self._url}{PATH}&transport=websocket&sid={sid}"
        async with asyncio.TaskGroup() as tasks:  # in the official client's order
            tasks.create_task(self._http.post(self._target(), join_packet(self._user.token)))
            self._probing = asyncio.create_task(open_websocket(websocket, self, self._user.token))
            tasks.create_task(self._poll())
            await asyncio.shield(self._probing)
            await self._probed
            self._pausing = True
        assert self._transport is not None
        self._transport.send(WSMsgType.TEXT, b"5")
        await self._joined

    async def _poll(self) -> None:
        while not self._pausing:
            for packet in (await self._http.get(self._target())).split(_SEPARATOR):
                self._receive(packet)

    def _receive(self, packet: bytes) -> None:
        if packet.startswith(b"40"):
            if not self._joined.done():
                self._joined.set_result(None)
        elif packet != b"6":
            self._fail(packet[:120].decode("utf-8", "replace"))

    async def _abort(self) -> None:
        """Leave without a word; nobody waits for anything any more."""
        if self._probing is not None:
            # It must not be cancelled: picows would leave the connection open.
            await asyncio.gather(self._probing, return_exceptions=True)
        self._probed.cancel()
        self._joined.cancel()
        if self._transport is not None:
            await abort_websocket(self._transport)

    def _fail(self, why: str) -> None:
        """Tell what is being waited for, if anything."""
        awaited = self._joined if self._probed.done() else self._probed
        if not awaited.done():
            awaited.set_exception(ConnectionError(why))

    def _target(self) -> str:
        """Its last parameter keeps caches from answering."""
        return f"{self._path}&t={next(self._times):08x}"
