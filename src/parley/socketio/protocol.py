"""The words of Engine.IO protocol v4: its packets, and why a request or a session ends.

See https://github.com/socketio/engine.io-protocol.
"""

from __future__ import annotations

import enum
from http import HTTPStatus
from typing import Final

import msgspec

PROTOCOL_VERSION: Final = "4"

OPEN: Final = b"0"
CLOSE: Final = b"1"
PING: Final = b"2"
PONG: Final = b"3"
MESSAGE: Final = b"4"
UPGRADE: Final = b"5"
NOOP: Final = b"6"
PROBE_PING: Final = b"2probe"
PROBE_PONG: Final = b"3probe"


class CloseReason(enum.StrEnum):
    """Why a session or socket ended; the words are the official server's where it has them."""

    CLIENT_NAMESPACE = "client namespace disconnect"
    SERVER_NAMESPACE = "server namespace disconnect"
    PING_TIMEOUT = "ping timeout"
    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"
    PARSE_ERROR = "parse error"
    CONNECT_TIMEOUT = "connect timeout"
    FORCED = "forced close"
    SLOW = "slow client"
    FLOODING = "flooding client"
    TOO_MANY = "too many connects"
    """Of its user, lately; it may come again."""
    SHUTDOWN = "server shutting down"
    MOVED = "moved to another process"
    """It goes on there; its client doesn't notice."""


class Problem(msgspec.Struct, frozen=True):
    """Why a request was refused: the body of the HTTP answer, in the official server's words."""

    code: int
    message: str

    @property
    def status(self) -> HTTPStatus:
        """Of that answer."""
        return _STATUS.get(self, HTTPStatus.BAD_REQUEST)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Of that answer, besides those that every answer has."""
        return (("Retry-After", "1"),) if self is TOO_MANY else ()


UNKNOWN_TRANSPORT: Final = Problem(0, "Transport unknown")
UNKNOWN_SESSION: Final = Problem(1, "Session ID unknown")
BAD_METHOD: Final = Problem(2, "Bad handshake method")
BAD_REQUEST: Final = Problem(3, "Bad request")
FORBIDDEN: Final = Problem(4, "Forbidden")
BAD_VERSION: Final = Problem(5, "Unsupported protocol version")
TOO_LARGE: Final = Problem(3, "Payload too large")
TOO_MANY: Final = Problem(3, "Too many connections from this address: try again later")
TOO_SLOW: Final = Problem(3, "Request timeout")
UNREACHABLE: Final = Problem(3, "The session's process can't be reached at the moment")

_STATUS: Final = {
    FORBIDDEN: HTTPStatus.FORBIDDEN,
    TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    UNREACHABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
