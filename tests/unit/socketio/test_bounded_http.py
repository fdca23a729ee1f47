"""What a client may do to HTTP before the application sees it, by a real uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from parley.socketio.door import Bounds, Refusal
from parley.socketio.http import BoundedHttp

from . import PATIENCE, until
from .test_front import HANDSHAKE, POLL, Site, head

PATIENT = Bounds()
HOST = b"Host: parley.test\r\n"
POST = b"POST /socket.io/?EIO=4&transport=polling"

Start = Callable[..., Site]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts sites with bounds of the test's choice: ``start(head_timeout=0.1)``."""
    sites: list[Site] = []

    def start(**bounds: float) -> Site:
        sites.append(Site(msgspec.structs.replace(PATIENT, **bounds)))
        return sites[-1]

    yield start
    for site in sites:
        await site.stop()


async def connect(site: Site) -> Stream:
    await until(lambda: site.server.started)
    return await asyncio.open_connection(*site.address)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All until the server hangs up."""
    arrived = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            while more := await reader.read(65536):
                arrived += more
    return arrived


async def answer_to(site: Site, *pieces: bytes) -> bytes:
    """All that a client gets that sends this and then only waits."""
    reader, writer = await connect(site)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    arrived = await rest(reader)
    writer.close()
    return arrived


async def well(site: Site) -> None:
    """A client that behaves is served."""
    reader, writer = await asyncio.open_connection(*site.address)
    writer.write(POLL)
    assert (await head(reader)).startswith(b"HTTP/1.1 200 ")
    writer.close()


class TestHeads:
    @pytest.mark.parametrize(
        "beginning",
        [
            b"GET /" + b"a" * 100_000,
            b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000,
            b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
            HANDSHAKE[:-2] + b"X: " + b"a" * 100_000,
        ],
    )
    @pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
    async def test_too_large(self, start: Start, beginning: bytes, end: bytes) -> None:
        site = start()
        answer = await answer_to(site, beginning + end)
        if end and beginning.startswith(b"GET /a"):  # no version: it is no HTTP at all
            assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        else:
            assert answer.startswith(b"HTTP/1.1 431 ")
            assert site.door.refused == {Refusal.HEAD_TOO_LARGE: 1}
        await well(site)

    async def test_too_many_headers(self, start: Start) -> None:
        site = start()
        for count, status in ((99, b"200"), (101, b"431")):
            reader, writer = await connect(site)
            writer.write(POLL[:-2] + b"X: y\r\n" * count + b"\r\n")
            assert (await head(reader)).split()[1] == status
            writer.close()

    async def test_silence(self, start: Start) -> None:
        site = start(head_timeout=0.05)
        assert await answer_to(site) == b""
        assert site.door.refused == {Refusal.SILENT: 1}

    @pytest.mark.parametrize("begun", [b"G", POLL[:-1], HANDSHAKE[:-3]])
    async def test_never_complete(self, start: Start, begun: bytes) -> None:
        site = start(head_timeout=0.05)
        assert (await answer_to(site, begun)).startswith(b"HTTP/1.1 408 ")
        assert site.door.refused == {Refusal.HEAD_TIMEOUT: 1}

    async def test_empty_lines_are_no_head(self, start: Start) -> None:
        site = start(head_timeout=0.1)
        reader, writer = await connect(site)
        end = asyncio.create_task(rest(reader))
        while not end.done():
            writer.write(b"\r\n")
            await asyncio.sleep(0.01)
        await end
        writer.close()
        assert site.door.refused.total() == 1

    async def test_malformed(self, start: Start) -> None:
        site = start()
        assert (await answer_to(site, b"EHLO x\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert site.door.refused == {Refusal.MALFORMED: 1}


class TestBodies:
    async def test_one_that_never_ends_for_a_session(self, start: Start) -> None:
        site = start(body_timeout=0.05)
        head = POST + b"&sid=%s HTTP/1.1\r\n" % await new_session(site) + HOST
        assert await answer_to(site, head + b"Content-Length: 100\r\n\r\n4") == b""
        assert site.door.refused == {Refusal.BODY_TIMEOUT: 1}
        await until(lambda: not site.engine.sessions)

    async def test_one_that_nobody_wants(self, start: Start) -> None:
        site = start(linger=0.05)
        request = b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\n"
        assert (await answer_to(site, request + b"x" * 10)).startswith(b"HTTP/1.1 404 ")
        assert site.door.refused == {Refusal.BODY_UNREAD: 1}

    async def test_too_large_by_its_own_word(self, start: Start) -> None:
        site = start(linger=0.05)
        head = POST + b"&sid=%s HTTP/1.1\r\n" % await new_session(site) + HOST
        answer = await answer_to(site, head + b"Content-Length: 1000001\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert not site.engine.sessions

    async def test_too_large_in_chunks(self, start: Start) -> None:
        site = start(linger=0.05)
        head = POST + b"&sid=%s HTTP/1.1\r\n" % await new_session(site) + HOST
        chunks = (b"10000\r\n" + b"x" * 65536 + b"\r\n" for _ in range(16))
        answer = await answer_to(site, head + b"Transfer-Encoding: chunked\r\n\r\n", *chunks)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert not site.engine.sessions

    async def test_trailers_without_an_end(self, start: Start) -> None:
        site = start(linger=0.05)
        head = POST + b"&sid=%s HTTP/1.1\r\n" % await new_session(site) + HOST
        chunked = b"Transfer-Encoding: chunked\r\n\r\n2\r\n6\x1e\r\n0\r\n"
        trailers = (b"X: " + b"y" * 60_000 + b"\r\n" for _ in range(20))
        await answer_to(site, head + chunked, *trailers)
        assert site.door.refused[Refusal.HEAD_TOO_LARGE] == 1
        await well(site)


class TestConnections:
    async def test_an_idle_one_is_closed(self, start: Start) -> None:
        site = start(keep_alive=0.05)
        assert (await answer_to(site, POLL)).startswith(b"HTTP/1.1 200 ")
        assert not site.door.refused

    async def test_two_requests_then_a_third(self, start: Start) -> None:
        site = start()
        reader, writer = await connect(site)
        for request in (POLL + POLL, POLL):
            writer.write(request)
            for _ in range(request.count(POLL)):
                assert (await head(reader)).startswith(b"HTTP/1.1 200 ")
                await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)
        assert len(site.engine.sessions) == 3
        writer.close()

    async def test_requests_without_waiting_for_answers(self, start: Start) -> None:
        site = start(max_pipelined=3)
        await answer_to(site, POLL * 1_000)
        assert site.door.refused == {Refusal.PIPELINE: 1}
        assert len(site.engine.sessions) <= 4
        await well(site)

    @pytest.mark.parametrize("begun", [b"", b"G", HANDSHAKE[:-3]])
    async def test_the_oldest_that_waits_goes_first(self, start: Start, begun: bytes) -> None:
        site = start(max_waiting=10)
        served = await connect(site)
        served[1].write(HANDSHAKE)
        assert (await head(served[0])).startswith(b"HTTP/1.1 101 ")
        silent = []
        for _ in range(10):
            silent.append(await connect(site))
            silent[-1][1].write(begun)
            await until(lambda: site.door.waiting == len(silent))
        newcomers = []
        for reader, _ in silent[:3]:
            newcomers.append(await connect(site))
            newcomers[-1][1].write(POLL)
            assert (await head(newcomers[-1][0])).startswith(b"HTTP/1.1 200 ")
            assert await rest(reader) == b""
        assert site.door.refused == {Refusal.CROWDED: 3}
        assert site.door.waiting == 10
        assert len(site.engine.sessions) == 1 + 3  # the one that is served has not been closed
        for _, writer in (served, *silent, *newcomers):
            writer.close()
        await until(lambda: site.door.waiting == 0)

    @pytest.mark.parametrize(
        "sent", [b"G", POLL, POST + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n4"]
    )
    async def test_one_that_has_ended_is_no_work_for_the_collector(
        self, start: Start, sent: bytes
    ) -> None:
        """It comes by so seldom that a flood would pile up."""
        site = start()
        gc.collect()
        gc.disable()
        try:
            _, writer = await connect(site)
            writer.write(sent)
            await until(lambda: self._http(site))
            kept = weakref.ref(self._http(site)[0])
            writer.transport.abort()
            await until(lambda: kept() is None)
        finally:
            gc.enable()

    def _http(self, site: Site) -> list[BoundedHttp]:
        connections = site.server.server_state.connections
        return [each for each in connections if isinstance(each, BoundedHttp)]

    async def test_an_answer_that_is_not_read(self, start: Start) -> None:
        site = start(read_timeout=0.05)
        sid = await new_session(site)
        session = site.engine.sessions[sid.decode()]
        for _ in range(4):
            session.send(b"4" + b"x" * 4_000_000)
        reader, writer = await connect(site)
        writer.write(POLL.replace(b" HTTP", b"&sid=%s HTTP" % sid))
        await until(lambda: site.door.refused[Refusal.UNREAD] == 1)
        assert len(await rest(reader)) < 16_000_000
        writer.close()


async def new_session(site: Site) -> bytes:
    """The id of a polling session that has just begun."""
    before = set(site.engine.sessions)
    await until(lambda: site.server.started)
    await well(site)
    (sid,) = set(site.engine.sessions) - before
    return sid.encode()
