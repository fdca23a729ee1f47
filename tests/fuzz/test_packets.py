"""The parsers of Engine.IO and Socket.IO packets, by themselves and as a session uses them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.socketio import packets as codec
from parley.socketio.events import Event
from parley.socketio.namespaces import Socket
from parley.socketio.options import Options
from parley.socketio.packets import MAX_ACK_ID, MAX_VALUES, PacketError
from parley.socketio.payloads import MAX_PACKETS, PayloadError, decode_payload, encode_payload
from parley.socketio.protocol import CloseReason
from parley.socketio.server import Server
from tests.unit.socketio import HANDSHAKE, Recorder, in_virtual_time, settle

from .inputs import LONG, engine_texts, event_arrays, json_texts, nested, packets
from .profile import budget


def utf8(text: str) -> bytes:
    """As a transport hands text over: valid UTF-8."""
    return text.encode(errors="replace")


@budget(250)
@given(packets.map(utf8) | st.text().map(utf8))
@example(b"2" + b"9" * LONG + b"[]")
@example(b"2/" + b"n" * 100_000)
def test_any_header(text: bytes) -> None:
    with contextlib.suppress(PacketError):
        packet = codec.decode(text)
        assert packet.id is None or 0 <= packet.id <= MAX_ACK_ID
        assert 0 <= packet.attachments <= 9_999
        assert packet.namespace.startswith("/")
        assert packet.json == text[len(text) - len(packet.json) :]


@budget(250)
@given(event_arrays.map(utf8) | json_texts.map(utf8), st.lists(st.binary(max_size=4), max_size=3))
@example(utf8(f'["a","\\ud800",{nested(985)}]'), [])
def test_any_values(json: bytes, attachments: list[bytes]) -> None:
    """Each is decoded, or refused."""
    with contextlib.suppress(PacketError):
        raw = codec.decode_array(json)
        assert len(raw) <= MAX_VALUES
        for value in raw:
            with contextlib.suppress(PacketError):
                codec.decode_value(value)
        codec.decode_values(raw, attachments)


@pytest.mark.parametrize("half", ["\\ud800", "\\udc00"])
def test_half_a_surrogate_pair_beside_any_depth(half: str) -> None:
    """It takes another parser, with another idea of what is too deep."""
    for depth in range(900, 1_010):
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            inner = opening * depth + "1" + closing * depth
            with contextlib.suppress(PacketError):
                codec.decode_array(f'["a","{half}",{inner}]'.encode())


@budget(200)
@given(st.lists(engine_texts | st.binary(max_size=20).map(lambda b: b.decode("latin-1"))))
def test_any_payload(texts: list[str]) -> None:
    body = "\x1e".join(texts).encode("utf-8", errors="surrogatepass")
    with contextlib.suppress(PayloadError):
        found = decode_payload(body)
        assert 1 <= len(found) <= MAX_PACKETS
        plain = [content for binary, content in found if not binary]
        assert decode_payload(encode_payload(plain or [b"6"])) is not None
        assert all(content for content in plain)


@budget(300)
@given(st.binary(max_size=60) | st.text("b=+/Ag4\x1e\xff").map(lambda text: text.encode("latin-1")))
@example(b"\x1e".join([b"6"] * (MAX_PACKETS + 1)))
@example(b"b" + b"A" * 4_001)
def test_any_body(body: bytes) -> None:
    with contextlib.suppress(PayloadError):
        for binary, content in decode_payload(body):
            if not binary:
                content.decode()


# As a session uses them

Step = tuple[bool, bytes]
"""Whether it is binary, and what comes."""

_proper = st.sampled_from(
    [b"40", b"40/admin,", b'40{"token":1}', b"41", b'42["event"]', b'421["event",{"a":[]}]', b"3",
     b'451-["event",{"_placeholder":true,"num":0}]', b'461-0[{"_placeholder":true,"num":9}]',
     b'430["done"]']
)  # fmt: skip
steps = st.lists(
    st.one_of(
        st.tuples(st.just(False), _proper),
        st.tuples(st.just(False), _proper),
        st.tuples(st.just(False), engine_texts.map(utf8)),
        st.tuples(st.just(True), st.binary(max_size=4)),
    ),
    max_size=12,
)


def take(socket: Socket, event: Event) -> None:
    """Look at all of it, and answer."""
    socket.emit("again", *event.args(), ack=lambda answer: None)
    event.ack("done")


async def play(script: list[Step]) -> None:
    server = Server(Options(max_namespaces=3))
    for name in ("/", "/admin"):
        server.namespace(name).on("event")(take)
    transport = Recorder()
    session = server.engine.open(transport, HANDSHAKE)
    for binary, content in script:
        with server.engine.batch:
            (session.receive_binary if binary else session.receive_text)(content)
        await settle(2)
    session.close(CloseReason.TRANSPORT_CLOSE)
    await settle(2)
    assert transport.closed
    assert server.engine.sessions == {}
    assert len(server.engine.deadlines) == 0
    for name in ("/", "/admin"):
        namespace = server.namespace(name)
        assert (namespace.sockets, namespace._running) == ({}, set())


@budget(300)
@given(steps)
@example([(False, b"40"), *[(False, b"40/n%d," % number) for number in range(5)]])
@example([(False, b"40"), (False, b'459999-["event"]')])
@example([(False, b"40"), (False, b'452-["event"]'), (True, b""), (True, b"")])
@example([(False, b"40"), (False, b'452-["event"]'), (True, b""), (False, b'42["event"]')])
@example([(False, b"40"), (False, b"43%d[]" % MAX_ACK_ID), (False, b"43[]")])
def test_any_sequence_of_packets(script: list[Step]) -> None:
    in_virtual_time(play(script))
