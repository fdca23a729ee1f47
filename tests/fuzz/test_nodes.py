"""What nodes say to one another: any bytes before and after the proofs, any record in Redis."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.cluster import wire
from parley.cluster.connection import LinkOptions
from parley.cluster.link import CallFailed, LinkLost, WrongNode, connect
from parley.cluster.listener import Listener
from parley.cluster.peers import ERRORS, _moved_session, _poll_answer, _read, methods_of
from parley.cluster.registry import NodeRecord, _decoded
from parley.cluster.wire import Answer, Call, FrameReader, WireError
from parley.socketio.options import Options
from parley.socketio.peer_server import PeerServer
from parley.socketio.peers import PeerUnreachable
from parley.socketio.server import Server

from .inputs import cuts, json_texts, nested, pieces
from .profile import budget
from .servers import serving
from .watching import no_errors

KEY = bytes(32)
LIMIT = 5_000
OPTIONS = LinkOptions(max_frame=LIMIT, connect_timeout=5.0)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_methods = st.sampled_from(
    ["poll", "end_poll", "begin_upgrade", "abandon_upgrade", "take_over", "nothing", "__class__"]
)
_bodies = st.binary(max_size=40) | values.map(msgspec.msgpack.encode)
messages = st.one_of(
    st.tuples(st.just(0), st.integers(-5, 5), _methods, _bodies),
    st.tuples(st.integers(0, 6), st.integers(-5, 5), _methods | _bodies),
    st.tuples(st.just(4)),
).map(msgspec.msgpack.encode)
bodies = st.one_of(
    messages,
    values.map(msgspec.msgpack.encode),
    st.binary(max_size=40),
    st.sampled_from([b"\x93\x01\x07" + b"\x91" * 3_000 + b"\xc0", b"\x93\x03\x01\xa2\xff\xff"]),
)
streams = st.lists(bodies.map(framed) | st.binary(max_size=6), max_size=5).map(b"".join)


@budget(400)
@given(streams, cuts)
@example(framed(b"\x93\x01\x07" + b"\x91" * 3_000 + b"\xc0"), [60])
@example(framed(b"\x93\x03\x01\xa2\xff\xff"), [60])
def test_any_stream(data: bytes, sizes: list[int]) -> None:
    def read(chunks: list[bytes]) -> tuple[list[wire.Message], bool]:
        reader, found = FrameReader(LIMIT), []
        try:
            for chunk in chunks:
                found += reader.feed(chunk)
                assert len(reader._buffer) <= LIMIT + 4
        except WireError:
            return found, True
        return found, False

    _, failed = read([data])
    assert read(pieces(data, sizes))[1] == failed


@budget(300)
@given(values.map(msgspec.msgpack.encode) | st.binary(max_size=60))
@example(b"\x93\xcd\x27\x0f\xc4\x00\xa0")  # a status that HTTP doesn't have
@example(b"\x93\xcc\xc8\xc4\x00\xa4a\r\nb")  # a line of its own in a header
def test_any_answer_of_another_node(body: bytes) -> None:
    with contextlib.suppress(PeerUnreachable):
        answer = _read(_poll_answer, body)
        assert 200 <= answer.status <= 599
        assert answer.media_type.isprintable()
    with contextlib.suppress(PeerUnreachable):
        _read(_moved_session, body)


RECORD = msgspec.json.encode(
    NodeRecord(
        name="abcdefgh", address="127.0.0.1", port=1, key=KEY, group="g", started=1, version="1"
    )
).decode()


@budget(300)
@given(st.one_of(
    json_texts,
    st.text(),
    st.tuples(st.sampled_from(list(msgspec.json.decode(RECORD))), json_texts).map(
        lambda pair: f'{RECORD[:-1]},"{pair[0]}":{pair[1]}}}'
    ),
))  # fmt: skip
@example(f'{RECORD[:-1]},"x":{nested(3_000)}}}')
def test_any_record_in_redis(text: str) -> None:
    """One that is bad must not keep the good ones from being found."""
    record = _decoded(text.encode(errors="surrogatepass"))
    assert record is None or 1 <= record.port <= 65_535


# Over a real socket


async def with_listener(said: Callable[[int], Awaitable[None]]) -> None:
    """Have something said to a node that listens; nothing of it may be left in the end."""
    server = Server(Options())
    listener = Listener(KEY, methods_of(PeerServer(server.engine)), ERRORS, OPTIONS)
    sock = _bound()
    await listener.start(sock)
    try:
        await said(sock.getsockname()[1])
        link = await connect("127.0.0.1", sock.getsockname()[1], KEY, ERRORS, OPTIONS)
        with pytest.raises(CallFailed):  # the node lives, and answers others
            await link.call("nothing", b"")
        await link.close()
        await _until(lambda: not (listener.links or listener.unproven or listener.running))
    finally:
        await listener.close()


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)


async def _talk(port: int, chunks: list[bytes], *, proven: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        greeting = await reader.readexactly(wire.GREETING_SIZE)
        if proven:
            nonce = bytes(wire.NONCE_SIZE)
            nonces = greeting[len(wire.MAGIC) :] + nonce
            writer.write(nonce + wire.proof(KEY, wire.CALLER, nonces))
            await reader.readexactly(wire.PROOF_SIZE)
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()
        await reader.read()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


@budget(60)
@given(streams, cuts, st.booleans())
@example(framed(msgspec.msgpack.encode([0, 1, "poll", b"\x91" * 3_000])), [60], True)
def test_any_caller(data: bytes, sizes: list[int], proven: bool) -> None:
    async def said(port: int) -> None:
        await _talk(port, pieces(data, sizes), proven=proven)

    with no_errors("asyncio"):
        asyncio.run(with_listener(said))


@budget(60)
@given(st.binary(max_size=120) | streams, st.booleans())
def test_any_node_that_is_called(data: bytes, proven: bool) -> None:
    """Whoever calls it gets an error that is one of links', and no other."""

    async def node(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if proven:
            writer.write(wire.MAGIC + bytes(wire.NONCE_SIZE))
            nonce = (await reader.readexactly(wire.NONCE_SIZE + wire.PROOF_SIZE))[:32]
            writer.write(wire.proof(KEY, wire.NODE, bytes(wire.NONCE_SIZE) + nonce))
            await reader.readexactly(4)
        writer.write(data)
        await writer.drain()

    async def main() -> None:
        async with serving(node) as port:
            try:
                link = await connect("127.0.0.1", port, KEY, ERRORS, OPTIONS)
            except (OSError, WrongNode, LinkLost):
                return
            with contextlib.suppress(LinkLost, CallFailed, *ERRORS):
                assert isinstance(await link.call("poll", b""), bytes)
            await link.close()

    with no_errors("asyncio"):
        asyncio.run(main())


def test_messages_of_nodes_are_small_enough_for_the_limits_here() -> None:
    assert len(wire.encode(Call(1, "poll", b""), LIMIT)) < LIMIT
    assert len(wire.encode(Answer(1, b""), LIMIT)) < LIMIT
