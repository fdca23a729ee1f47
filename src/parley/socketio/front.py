"""What a new connection is for, as its first bytes tell.

A WebSocket's opening handshake goes straight to the class named by
``Config(ws=...)``.  uvicorn's own HTTP protocol, which would see it first
otherwise, takes as much time for it as all that follows, and leaves memory
with the connection.  It gets everything else, within bounds; see :mod:`.http`.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, ClassVar, Final, cast

from parley.socketio.door import Door, Refusal, Waiting
from parley.socketio.http import BoundedHttp

_HEAD: Final = re.compile(
    rb"GET [!-~]+ HTTP/1\.1\r\n"
    rb"(?:[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)+\r\n"
)
"""A whole request's head in the strict form of RFC 9112, and nothing after it."""
_UPGRADE: Final = re.compile(rb"\r\nupgrade:[ \t]*websocket[ \t]*\r\n", re.IGNORECASE)
_CONNECTION: Final = re.compile(
    rb"\r\nconnection:(?:[^\r,]*,)*[ \t]*upgrade[ \t]*[,\r]", re.IGNORECASE
)
_BODY: Final = re.compile(rb"\r\n(?:content-length|transfer-encoding):", re.IGNORECASE)


class FrontProtocol(asyncio.Protocol, Waiting):
    """Finds the protocol that serves a connection.  See :func:`front_protocol`."""

    __slots__ = ("_app_state", "_config", "_server_state", "_transport")

    door: ClassVar[Door]

    def __init__(
        self, config: Any, server_state: Any, app_state: Any, _loop: object = None
    ) -> None:
        # The signature is uvicorn's, which at its end shuts down the connections in this state.
        super().__init__()
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not every loop's transports derive from asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._server_state.connections.add(self)
        self.door.wait(self, self.door.bounds.head_timeout)

    def data_received(self, data: bytes) -> None:
        self._server_state.connections.discard(self)
        self.door.leave(self)
        protocol = self._protocol_for(data)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(self)
        self.door.leave(self)

    def shutdown(self) -> None:
        """uvicorn is about to end."""
        self._transport.close()

    def due(self) -> None:
        self.door.leave(self)
        self.door.refuse(Refusal.SILENT)
        self._transport.abort()

    def turn_away(self) -> None:
        self._transport.abort()

    def _protocol_for(self, data: bytes) -> asyncio.Protocol:
        config, state, app_state = self._config, self._server_state, self._app_state
        if len(data) <= self.door.bounds.max_head and is_handshake(data):
            websocket: asyncio.Protocol = config.ws_protocol_class(config, state, app_state)
            return websocket
        return BoundedHttp(self.door, config, state, app_state)


def front_protocol(at: Door) -> type[FrontProtocol]:
    """A class for ``uvicorn.Config(http=...)``, whose connections all wait at one door."""

    class BoundFrontProtocol(FrontProtocol):
        __slots__ = ()
        door: ClassVar[Door] = at

    return BoundFrontProtocol


def is_handshake(data: bytes) -> bool:
    """True for a WebSocket's opening handshake that is here as a whole.

    False if there is any doubt: uvicorn, which can wait for the rest and knows
    all forms that HTTP allows, hands it over in the end if it is one.
    """
    return (
        _UPGRADE.search(data) is not None
        and _CONNECTION.search(data) is not None
        and _BODY.search(data) is None
        and _HEAD.fullmatch(data) is not None
    )
