"""Floods of polls and POSTs, by a real uvicorn: they end, leave nothing, and others are served."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from parley.socketio.door import Refusal
from parley.socketio.protocol import CloseReason

from . import PATIENCE, Told, until
from .test_bounded_http import Stream, connect, new_session, well
from .test_front import POLL, Site

MANY = 300
"""Requests at once, each on a connection of its own."""
POST = POLL.replace(b"GET", b"POST")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """One that serves others after the test, and keeps nothing of its requests."""
    site = Site()
    await until(lambda: site.server.started)
    yield site
    await well(site)
    for session in list(site.engine.sessions.values()):
        session.close()
    await until(lambda: not any(site.engine.sizes().values()))
    await until(lambda: not site.server.server_state.tasks)
    await site.stop()


def of_session(sid: bytes, request: bytes = POLL, body: bytes = b"") -> bytes:
    """A request of that session."""
    head = request.replace(b" HTTP", b"&sid=%s HTTP" % sid)
    if body:
        head = head[:-2] + b"Content-Length: %d\r\n\r\n" % len(body)
    return head + body


async def at_once(site: Site, *requests: bytes) -> list[bytes]:
    """Send each on a connection of its own; the statuses of the answers."""
    streams = [await connect(site) for _ in requests]
    for (_, writer), request in zip(streams, requests, strict=True):
        writer.write(request)
    statuses = await asyncio.gather(*(status(stream) for stream in streams))
    for _, writer in streams:
        writer.close()
    return statuses


async def status(stream: Stream) -> bytes:
    """Of the next answer; empty if there is none."""
    reader, _ = stream
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        async with asyncio.timeout(PATIENCE):
            return (await reader.readuntil(b"\r\n\r\n")).split()[1]
    return b""


async def test_polls_of_one_session(site: Site) -> None:
    """One may be held. The second is a mistake that ends the session, and the held one with it."""
    sid = await new_session(site)
    statuses = await at_once(site, *[of_session(sid)] * MANY)
    assert sorted(statuses) == [b"200"] + [b"400"] * (MANY - 1)
    assert sid.decode() not in site.engine.sessions


async def test_polls_of_sessions_that_do_not_exist(site: Site) -> None:
    statuses = await at_once(site, *[of_session(b"nobody's")] * MANY)
    assert statuses == [b"400"] * MANY
    assert not site.engine.sessions


async def test_posts_of_one_session(site: Site) -> None:
    """One may be taken slowly. A second meanwhile ends the session: no more than one is kept."""
    sid = await new_session(site)
    session = site.engine.sessions[sid.decode()]
    told = session.handler
    assert isinstance(told, Told)
    told.on_message = session.hold  # nothing is ever answered
    most = site.engine.options.max_in_flight
    body = b"\x1e".join([b"4x"] * 2 * most)
    first = await connect(site)
    first[1].write(of_session(sid, POST, body))
    await until(lambda: len(told.messages) == most)
    statuses = await at_once(site, *[of_session(sid, POST, body)] * MANY)
    assert statuses == [b"400"] * MANY
    assert await status(first) == b"200"
    first[1].close()
    assert told.closed == [CloseReason.TRANSPORT_ERROR]
    assert len(told.messages) == most


async def test_posts_of_one_connection(site: Site) -> None:
    sid = await new_session(site)
    stream = await connect(site)
    stream[1].write(of_session(sid, POST, b"4x") * 10_000)
    await until(lambda: site.door.refused == {Refusal.PIPELINE: 1})
    stream[1].close()
    handler = site.engine.sessions[sid.decode()].handler
    assert isinstance(handler, Told)
    assert len(handler.messages) <= 1 + site.door.bounds.max_pipelined


async def test_bodies_that_stop_amid_the_way(site: Site) -> None:
    """Their sessions have one each, and what a session reads is no more than a message."""
    sids = [await new_session(site) for _ in range(20)]
    streams = [await connect(site) for _ in sids]
    for sid, (_, writer) in zip(sids, streams, strict=True):
        request = of_session(sid, POST, b"4" + b"x" * 900_000)
        writer.write(request[:-1])
        await writer.drain()
    await well(site)
    for _, writer in streams:
        writer.close()
    await until(lambda: not {sid.decode() for sid in sids} & site.engine.sessions.keys())
