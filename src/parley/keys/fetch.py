"""One HTTP request for a small document, with a bound on everything."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit

import httptools

from parley.errors import KeysBroken, KeysUnavailable
from parley.keys.urls import PORTS

MOST_BYTES: Final = 512 * 1024
"""Of an answer, its head included."""
TIMEOUT: Final = 5.0
"""Seconds for all of it: the name, the connection, the answer."""
_CHUNK: Final = 65_536
_OK: Final = 200
_LATER: Final = (408, 425, 429)
"""Statuses that tell to come again, besides those from 500 on."""


async def fetch(url: str, tls: ssl.SSLContext | None) -> bytes:
    """The body of what is at ``url``, which has no :func:`~parley.keys.urls.url_problem`.

    Redirects are not followed, and environment variables that name a proxy are ignored.

    Raises:
        KeysUnavailable: it can't be had now.
        KeysBroken: there is something else; somebody has to look.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            return await _fetch(urlsplit(url), tls)
    except TimeoutError:
        raise KeysUnavailable(f"no answer within {TIMEOUT:g} seconds") from None
    except ssl.SSLCertVerificationError as error:
        raise KeysBroken(
            f"the certificate is not trusted ({error.verify_message}); SSL_CERT_FILE may name the "
            "certificates (PEM) that are"
        ) from error
    except (OSError, UnicodeError) as error:
        raise KeysUnavailable(getattr(error, "strerror", None) or str(error)) from error


async def _fetch(url: SplitResult, tls: ssl.SSLContext | None) -> bytes:
    assert url.hostname is not None
    port = url.port or PORTS[url.scheme]
    context = tls if url.scheme == "https" else None
    reader, writer = await asyncio.open_connection(url.hostname, port, ssl=context)
    try:
        writer.write(_request(url))
        return await _answer(reader.read)
    finally:
        writer.transport.abort()


def _request(url: SplitResult) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return (
        f"GET {target} HTTP/1.1\r\nHost: {url.netloc}\r\nAccept: application/json\r\n"
        "Accept-Encoding: identity\r\nUser-Agent: parley\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


async def _answer(read: Callable[[int], Awaitable[bytes]]) -> bytes:
    response = _Response()
    parser = httptools.HttpResponseParser(response)
    size = 0
    while not response.complete:
        chunk = await read(_CHUNK)
        size += len(chunk)
        if size > MOST_BYTES:
            raise KeysBroken(f"the answer has more than {MOST_BYTES} bytes")
        if not chunk:
            if not response.until_the_end:
                raise KeysUnavailable("the connection was closed before the answer was complete")
            break
        try:
            parser.feed_data(chunk)
        except httptools.HttpParserError as error:
            raise KeysBroken("the answer is not HTTP") from error
    _check_status(parser.get_status_code(), response.location)
    return bytes(response.body)


class _Response:
    """What the parser tells."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False
        self.until_the_end = False
        """The body ends with the connection."""
        self.location = ""
        self._sized = False

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"location":
            self.location = value.decode("ascii", "replace")[:200]
        elif lower in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        self.until_the_end = not self._sized

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def _check_status(status: int, location: str) -> None:
    if status == _OK:
        return
    if status >= 500 or status in _LATER:
        raise KeysUnavailable(f"it answers with status {status}")
    if 300 <= status < 400:
        raise KeysBroken(f"it redirects to {location!r}; name that place itself")
    raise KeysBroken(f"it answers with status {status}")
