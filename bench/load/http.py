"""HTTP as far as long-polling needs it: requests to one server, with or without keep-alive."""

from __future__ import annotations

import asyncio
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

from .client import PATIENCE

_OK: Final = 200


class HttpError(Exception):
    """No answer, or another one than 200."""


class HttpClient:
    """Makes the requests of one client; several at a time, each over a connection of its own."""

    def __init__(self, url: str, headers: dict[str, str], *, keep_alive: bool) -> None:
        """``headers`` are sent with every request.  Connections are reused if ``keep_alive``."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._host, self._port = parts.hostname, parts.port
        lines = {"Host": parts.netloc, "Accept": "*/*", **headers}
        if not keep_alive:
            lines["Connection"] = "close"
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
        self._idle: list[_Connection] = []

    async def get(self, target: str) -> bytes:
        """The body of the answer.  Raises HttpError, OSError or TimeoutError."""
        return await self._request(b"GET %s HTTP/1.1\r\n%s\r\n" % (target.encode(), self._headers))

    async def post(self, target: str, body: bytes) -> bytes:
        """The same, with a text to send."""
        more = b"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n" % len(body)
        head = b"POST %s HTTP/1.1\r\n%s%s\r\n" % (target.encode(), self._headers, more)
        return await self._request(head + body)

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop().close()

    async def _request(self, request: bytes) -> bytes:
        async with asyncio.timeout(PATIENCE):
            connection = await self._connection()
            try:
                status, body = await connection.exchange(request)
            except BaseException:
                connection.close()
                raise
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.close()
        if status != _OK:
            raise HttpError(f"{status} {body[:120].decode('utf-8', 'replace')}")
        return body

    async def _connection(self) -> _Connection:
        while self._idle:
            idle = self._idle.pop()
            if idle.reusable:  # the server has not closed it meanwhile
                return idle
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        return connection


class _Connection(asyncio.Protocol):
    """One request at a time.  Also what httptools calls as it reads an answer."""

    def __init__(self) -> None:
        self.reusable = False
        """The answer that was read last allows for another request."""
        self._transport: asyncio.WriteTransport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._body: list[bytes] = []

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; status and body of its answer."""
        assert self._transport is not None
        self.reusable, self._body = False, []
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._fail("the connection ended before the answer did")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        assert self._answer is not None
        self.reusable = self._parser.should_keep_alive()
        if not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), b"".join(self._body)))

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(HttpError(why))
