"""What a new connection is for, as its first bytes tell.

A WebSocket's opening handshake goes straight to the class named by
``Config(ws=...)``.  uvicorn's own HTTP protocol, which would see it first
otherwise, takes as much time for it as all that follows, and leaves memory
with the connection.  It gets everything else.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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


class FrontProtocol(asyncio.Protocol):
    """For ``uvicorn.Config(http=...)``: finds the protocol that serves a connection."""

    __slots__ = ("_app_state", "_config", "_server_state", "_transport")

    def __init__(
        self, config: Any, server_state: Any, app_state: Any, _loop: object = None
    ) -> None:
        # The signature is uvicorn's, which at its end shuts down the connections in this state.
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not every loop's transports derive from asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._server_state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._server_state.connections.discard(self)
        serve = self._config.ws_protocol_class if is_handshake(data) else HttpToolsProtocol
        protocol = serve(
            config=self._config, server_state=self._server_state, app_state=self._app_state
        )
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(self)

    def shutdown(self) -> None:
        """uvicorn is about to end."""
        self._transport.close()


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
