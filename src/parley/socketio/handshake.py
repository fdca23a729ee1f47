"""How a session begins, and the opening handshake of a WebSocket, RFC 6455 section 4.2.

Sans-I/O.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_KEY_BYTES: Final = 16


class Handshake(msgspec.Struct, frozen=True):
    """The request with which a session began, whatever its transport."""

    headers: Mapping[str, str]
    """Names in lower case."""
    query: Mapping[str, str]
    remote: str
    """The peer's address."""


class Request(msgspec.Struct, frozen=True):
    """The head of an HTTP request that asks for an upgrade."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by commas (RFC 9110 section 5.3)."""


class BadHandshake(ValueError):
    """The request isn't a valid WebSocket handshake; the text may be shown to the client."""

    status = HTTPStatus.BAD_REQUEST
    headers: tuple[tuple[str, str], ...] = ()


class BadVersion(BadHandshake):
    """Another version of the protocol is asked for (section 4.4)."""

    status = HTTPStatus.UPGRADE_REQUIRED
    headers = (("Sec-WebSocket-Version", "13"),)


def parse_request(head: bytes) -> Request:
    """Read the head of a request that an HTTP parser has found well-formed.

    Raises:
        BadHandshake: it can't be read all the same.
    """
    lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, _ = lines[0].split(" ", 2)
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
    except ValueError as exc:
        raise BadHandshake("malformed request") from exc
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Request(method, url.path, query, headers)


def accept(request: Request) -> bytes:
    """The answer that completes the handshake.

    Raises:
        BadHandshake: the request breaks section 4.2.1.
    """
    headers = request.headers
    if request.method != "GET":
        raise BadHandshake("a WebSocket handshake must be a GET request")
    if headers.get("upgrade", "").lower() != "websocket":
        raise BadHandshake("the Upgrade header must be 'websocket'")
    tokens = headers.get("connection", "").lower().split(",")
    if "upgrade" not in [token.strip() for token in tokens]:
        raise BadHandshake("the Connection header must name 'Upgrade'")
    if headers.get("sec-websocket-version") != "13":
        raise BadVersion("Sec-WebSocket-Version must be 13")
    key = headers.get("sec-websocket-key", "")
    try:
        valid = len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        valid = False
    if not valid:
        raise BadHandshake("Sec-WebSocket-Key must be 16 bytes in base64")
    # SHA-1 is the RFC's choice; nothing rests on its strength.
    sha1 = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False)
    digest = base64.b64encode(sha1.digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + digest + b"\r\n\r\n"
    )


def refuse(status: HTTPStatus, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """An answer that ends the attempt; ``body`` is JSON."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n{extra}Connection: close\r\n"
        f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode("latin-1") + body
