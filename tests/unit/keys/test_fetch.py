"""Fetching a small document over HTTP, from servers that are good and from others."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trustme

from parley.errors import KeysBroken, KeysUnavailable
from parley.keys import fetch as fetch_module
from parley.keys.fetch import MOST_BYTES, fetch
from parley.keys.urls import url_problem

OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """Answers with these bytes, and keeps the connection open until told to close it."""

    def __init__(self, answer: bytes, *, close: bool, port: int = 0) -> None:
        self.answer = answer
        self.close = close
        self.port = port
        self.heads: list[bytes] = []
        """Of the requests."""
        self.gone = asyncio.Event()
        """A client has hung up."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.answer)
            if not self.close:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass  # hung up, in one way or the other
        finally:
            self.gone.set()
            writer.close()


@asynccontextmanager
async def serving(
    answer: bytes, *, close: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server(answer, close=close)
    listening = await asyncio.start_server(server, "127.0.0.1", 0, ssl=tls)
    async with listening:
        server.port = listening.sockets[0].getsockname()[1]
        yield server


async def fetched(answer: bytes, *, close: bool = False) -> bytes:
    async with serving(answer, close=close) as server:
        return await fetch(f"http://127.0.0.1:{server.port}/keys", None)


@pytest.mark.parametrize(
    ("answer", "close"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", False),
        (OK + b"\r\nhello", True),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", True),
    ],
    ids=["sized", "chunked", "until the end", "HTTP/1.0"],
)
async def test_every_way_to_end_an_answer(answer: bytes, close: bool) -> None:
    assert await fetched(answer, close=close) == b"hello"


async def test_what_is_asked_for() -> None:
    async with serving(OK + b"Content-Length: 0\r\n\r\n") as server:
        assert await fetch(f"http://127.0.0.1:{server.port}/a%20b?c=d&e", None) == b""
        (head,) = server.heads
    line, *headers = head.decode().split("\r\n")
    assert line == "GET /a%20b?c=d&e HTTP/1.1"
    assert f"Host: 127.0.0.1:{server.port}" in headers


BROKEN = {
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n",
    "missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "forbidden": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "no HTTP": b"220 smtp.example.com ESMTP\r\n",
    "bad chunks": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "huge": OK + b"Content-Length: 9999999\r\n\r\n" + b"x" * (MOST_BYTES + 1),
    "huge without an end": OK + b"\r\n" + b"x" * (MOST_BYTES + 1),
    "a huge head": OK + b"X: %b\r\n" % (b"x" * MOST_BYTES),
}
AWAY = {
    "busy": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    "too many": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
    "half an answer": OK + b"Content-Length: 5\r\n\r\nhell",
    "half a head": OK,
    "nothing": b"",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
async def test_answers_that_somebody_has_to_look_at(answer: bytes) -> None:
    with pytest.raises(KeysBroken):
        await fetched(answer, close=True)


async def test_redirects_are_told_and_not_followed() -> None:
    async with serving(OK + b"Content-Length: 2\r\n\r\n{}") as other:
        place = f"http://127.0.0.1:{other.port}/"
        answer = f"HTTP/1.1 301 Moved\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n"
        with pytest.raises(KeysBroken, match=place):
            await fetched(answer.encode())
        assert other.heads == []


@pytest.mark.parametrize("answer", AWAY.values(), ids=AWAY)
async def test_answers_that_may_be_better_later(answer: bytes) -> None:
    with pytest.raises(KeysUnavailable):
        await fetched(answer, close=True)


async def test_nobody_listens(unused_tcp_port_factory: Callable[[], int]) -> None:
    with pytest.raises(KeysUnavailable):
        await fetch(f"http://127.0.0.1:{unused_tcp_port_factory()}/", None)


async def test_a_name_that_nobody_has() -> None:
    with pytest.raises(KeysUnavailable):
        await fetch("https://nobody.invalid/", ssl.create_default_context())


async def test_who_is_slow_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "TIMEOUT", 0.1)
    async with serving(OK + b"Content-Length: 5\r\n\r\nhell") as server:
        with pytest.raises(KeysUnavailable, match=r"no answer within 0\.1 seconds"):
            await fetch(f"http://127.0.0.1:{server.port}/keys", None)
        async with asyncio.timeout(5):
            await server.gone.wait()


async def test_who_waits_no_more_hangs_up() -> None:
    async with serving(b"") as server:
        fetching = asyncio.ensure_future(fetch(f"http://127.0.0.1:{server.port}/keys", None))
        async with asyncio.timeout(5):
            while not server.heads:  # noqa: ASYNC110 - as simple as it gets
                await asyncio.sleep(0.001)
            fetching.cancel()
            await server.gone.wait()


async def test_https() -> None:
    authority = trustme.CA()
    listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(listening)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serving(OK + b"Content-Length: 5\r\n\r\nhello", tls=listening) as server:
        assert await fetch(f"https://localhost:{server.port}/", trusting) == b"hello"
        with pytest.raises(KeysBroken, match="SSL_CERT_FILE"):
            await fetch(f"https://localhost:{server.port}/", ssl.create_default_context())
        with pytest.raises(KeysBroken, match="not trusted"):
            await fetch(f"https://127.0.0.1:{server.port}/", trusting)  # another name


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example.com/keys",
        "https://login.example.com:8443/keys?a=b",
        "http://127.0.0.1:8080/keys",
        "http://localhost/keys",
        "http://[::1]:1/keys",
    ],
)
def test_places_that_are_trusted(url: str) -> None:
    assert url_problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example.com/keys",
        "http://127.0.0.1.example.com/",
        "http://10.0.0.1/",
        "file:///etc/keys.json",
        "ftp://127.0.0.1/",
        "login.example.com/keys",
        "https://",
        "https:///keys",
        "https://user:password@login.example.com/",
        "https://login.example.com/#keys",
        "https://login.example.com/a b",
        "https://login.example.com/\r\nX: y",
        "https://login.example.com:port/",
        "https://login.example.com:99999/",
        "https://[::1/",
        "https://exämple.com/",
        "",
    ],
)
def test_places_that_are_not(url: str) -> None:
    assert url_problem(url)
