"""Frames of RFC 6455: each rule by itself, then any bytes cut in any way.

``client_frame`` is an encoder of its own, able to break every rule; the
``websockets`` package serves as a second opinion in both directions.
"""

from __future__ import annotations

import gc
import importlib.util
import itertools
import sys
from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple, TypeAlias

import pytest
import websockets.frames
import websockets.utils
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.streams import StreamReader

from parley.socketio import frames
from parley.socketio.frames import (
    MAX_EMPTY_FRAGMENTS,
    CloseCode,
    Failure,
    FrameParser,
    Message,
    Opcode,
    encode_close,
    encode_frame,
    frame_header,
)

KEY = b"\x37\xfa\x21\x3d"
LIMIT = 1000
MIB = 1 << 20
LARGEST_CONTROL_FRAME = 2 + 4 + 125


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    key: bytes | None = KEY,
    length_bytes: int | None = None,
) -> bytes:
    """A frame as a client sends it; ``length_bytes`` 0, 2 or 8 forces a form of length."""
    size = len(payload)
    if length_bytes is None:
        length_bytes = 0 if size <= 125 else 2 if size <= 0xFFFF else 8
    short = {0: size, 2: 126, 8: 127}[length_bytes]
    header = bytes([fin << 7 | reserved << 4 | opcode, (key is not None) << 7 | short])
    if length_bytes:
        header += size.to_bytes(length_bytes, "big")
    if key is None:
        return header + payload
    return header + key + bytes(a ^ b for a, b in zip(payload, itertools.cycle(key), strict=False))


def text(payload: str) -> bytes:
    return client_frame(Opcode.TEXT, payload.encode())


class Outcome(NamedTuple):
    messages: list[Message]
    failure: Failure | None
    close_code: int | None
    close_reason: str | None

    @property
    def failure_code(self) -> CloseCode | None:
        return self.failure.code if self.failure else None


def held(parser: FrameParser) -> int:
    """How many bytes of input the parser keeps, wherever it keeps them."""
    buffers = gc.get_referents(parser)
    return sum(len(it) for it in buffers if isinstance(it, bytes | bytearray | list | dict))


def feed(parser: FrameParser, data: bytes) -> list[Message]:
    """What all of ``data`` completes, in as many turns as it takes."""
    messages = parser.feed(data)
    while parser.more:
        messages += parser.feed(b"")
    return messages


def parse(chunks: Iterable[bytes], max_message: int = LIMIT) -> Outcome:
    parser = FrameParser(max_message)
    messages: list[Message] = []
    seen = 0
    for chunk in chunks:
        messages += feed(parser, chunk)
        seen += len(chunk)
        assert held(parser) <= min(seen, max_message + LARGEST_CONTROL_FRAME - 1)
    return Outcome(messages, parser.failure, parser.close_code, parser.close_reason)


def parse_one(data: bytes, max_message: int = LIMIT) -> Outcome:
    return parse([data], max_message)


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """``data`` in pieces of ``sizes``, over and over."""
    pieces: list[bytes] = []
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            return pieces
        pieces.append(data[at : at + size])
        at += size
    raise AssertionError("sizes must not be empty")


# Whole messages


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_message_of_each_length_form(opcode: Opcode, size: int) -> None:
    payload = b"abcdefg" * (size // 7) + b"x" * (size % 7)
    outcome = parse_one(client_frame(opcode, payload), max_message=MIB)
    assert outcome == ([(opcode, payload)], None, None, None)


def test_example_of_the_rfc() -> None:
    masked_hello = bytes.fromhex("818537fa213d7f9f4d5158")
    assert parse_one(masked_hello).messages == [(Opcode.TEXT, b"Hello")]


def test_opcodes_of_messages_are_members() -> None:
    data = b"".join(client_frame(code) for code in (1, 2, 9, 10, 8))
    assert all(isinstance(opcode, Opcode) for opcode, _ in parse_one(data).messages)


def test_several_messages_in_one_chunk_keep_their_order() -> None:
    data = text("one") + client_frame(Opcode.PING, b"p") + text("zwölf") + text("three")
    assert parse_one(data).messages == [
        (Opcode.TEXT, b"one"),
        (Opcode.PING, b"p"),
        (Opcode.TEXT, "zwölf".encode()),
        (Opcode.TEXT, b"three"),
    ]


def test_fragments_are_joined_and_control_frames_come_between_them() -> None:
    data = (
        client_frame(Opcode.TEXT, b"a\xc3", fin=False)
        + client_frame(Opcode.PING, b"now")
        + client_frame(Opcode.CONTINUATION, b"\xa4b", fin=False)
        + client_frame(Opcode.PONG)
        + client_frame(Opcode.CONTINUATION)
        + client_frame(Opcode.BINARY, b"\xff")
    )
    assert parse_one(data).messages == [
        (Opcode.PING, b"now"),
        (Opcode.PONG, b""),
        (Opcode.TEXT, "aäb".encode()),
        (Opcode.BINARY, b"\xff"),
    ]


def test_control_frame_of_125_bytes() -> None:
    assert parse_one(client_frame(Opcode.PING, b"p" * 125)).messages == [(Opcode.PING, b"p" * 125)]


def test_pure_python_unmasking_when_the_extension_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    spec = importlib.util.spec_from_file_location("frames_without_extension", frames.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert module.apply_mask is websockets.utils.apply_mask
    messages = module.FrameParser(LIMIT).feed(text("Hello") + text("") + text("é" * 99))
    assert [payload.decode() for _, payload in messages] == ["Hello", "", "é" * 99]


# What fails the connection


def raw_length(first: int, length_bytes: int, length: int) -> bytes:
    """A header whose length is ``length``, whatever follows it."""
    short = {2: 126, 8: 127}[length_bytes]
    return bytes([first, 0x80 | short]) + length.to_bytes(length_bytes, "big")


TEXT_START = client_frame(Opcode.TEXT, b"a", fin=False)

PROTOCOL_ERRORS = {
    "unmasked text": client_frame(Opcode.TEXT, b"a", key=None),
    "unmasked ping": client_frame(Opcode.PING, key=None),
    "unmasked fragment": TEXT_START + client_frame(Opcode.CONTINUATION, b"a", key=None),
    "reserved bit 1": client_frame(Opcode.TEXT, b"a", reserved=4),
    "reserved bit 2": client_frame(Opcode.TEXT, b"a", reserved=2),
    "reserved bit 3": client_frame(Opcode.PING, b"a", reserved=1),
    **{f"opcode {code}": client_frame(code) for code in (*range(3, 8), *range(11, 16))},
    **{
        f"fragmented {code.name}": client_frame(code, fin=False)
        for code in (Opcode.CLOSE, Opcode.PING, Opcode.PONG)
    },
    **{
        f"{code.name} of 126 bytes": client_frame(code, b"a" * 126)
        for code in (Opcode.CLOSE, Opcode.PING, Opcode.PONG)
    },
    "ping with a long form of length": client_frame(Opcode.PING, b"a", length_bytes=8),
    "125 in 16 bits": client_frame(Opcode.TEXT, b"a" * 125, length_bytes=2),
    "0 in 64 bits": client_frame(Opcode.TEXT, length_bytes=8),
    "65535 in 64 bits": raw_length(0x81, 8, 65535),
    "top bit of the length": raw_length(0x82, 8, 1 << 63),
    "all bits of the length": raw_length(0x82, 8, (1 << 64) - 1),
    "continuation of nothing": client_frame(Opcode.CONTINUATION, b"a"),
    "continuation of a whole message": text("a") + client_frame(Opcode.CONTINUATION),
    "continuation of a finished message": TEXT_START + client_frame(0) + client_frame(0),
    "text inside a fragmented message": TEXT_START + text("a"),
    "binary start inside one": TEXT_START + client_frame(Opcode.BINARY, fin=False),
    "close of one byte": client_frame(Opcode.CLOSE, b"\x03"),
}


@pytest.mark.parametrize("data", PROTOCOL_ERRORS.values(), ids=PROTOCOL_ERRORS.keys())
def test_protocol_error(data: bytes) -> None:
    outcome = parse_one(data)
    assert outcome.failure_code is CloseCode.PROTOCOL_ERROR
    assert outcome.failure is not None
    assert outcome.failure.reason
    assert outcome.close_code is None


def test_bad_frame_fails_by_its_first_two_bytes() -> None:
    assert parse_one(b"\x81\x05").failure_code is CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "payload", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"a" * 200 + b"\xf5"]
)
def test_text_that_is_not_utf8(payload: bytes) -> None:
    assert parse_one(client_frame(Opcode.TEXT, payload)).failure_code is CloseCode.INVALID_DATA


def test_fragmented_text_is_checked_when_it_is_complete() -> None:
    start = client_frame(Opcode.TEXT, b"\xff", fin=False)
    end = client_frame(Opcode.CONTINUATION)
    assert parse_one(start).failure is None
    assert parse_one(start + end).failure_code is CloseCode.INVALID_DATA


def test_binary_need_not_be_utf8() -> None:
    data = client_frame(Opcode.BINARY, b"\xff", fin=False) + client_frame(0, b"\xfe")
    assert parse_one(data).messages == [(Opcode.BINARY, b"\xff\xfe")]


@pytest.mark.parametrize("limit", [0, 10, 125, 126, 1000, 65535, 65536])
def test_message_size_limit(limit: int) -> None:
    just_fits = client_frame(Opcode.BINARY, bytes(limit))
    too_big = client_frame(Opcode.BINARY, bytes(limit + 1))
    assert parse_one(just_fits, limit).messages == [(Opcode.BINARY, bytes(limit))]
    header_only = too_big[: -(limit + 1) - len(KEY)]
    assert parse_one(header_only, limit).failure_code is CloseCode.TOO_BIG


def test_size_limit_is_of_the_joined_message() -> None:
    half = client_frame(Opcode.TEXT, b"a" * 500, fin=False)
    ping = client_frame(Opcode.PING, b"p" * 125)
    rest = client_frame(Opcode.CONTINUATION, b"a" * 500)
    assert (
        parse_one((half + ping + rest) * 2).messages
        == [
            (Opcode.PING, b"p" * 125),
            (Opcode.TEXT, b"a" * 1000),
        ]
        * 2
    )
    header_of_501 = client_frame(Opcode.CONTINUATION, b"a" * 501)[:4]
    assert parse_one(half + header_of_501).failure_code is CloseCode.TOO_BIG


def test_size_limit_is_not_for_control_frames() -> None:
    assert parse_one(client_frame(Opcode.PING, b"12345"), 3).messages == [(Opcode.PING, b"12345")]


def test_empty_fragments_are_bounded() -> None:
    start = client_frame(Opcode.TEXT, fin=False)
    middle = client_frame(Opcode.CONTINUATION, fin=False)
    end = client_frame(Opcode.CONTINUATION, b"a")
    allowed = start + middle * (MAX_EMPTY_FRAGMENTS - 1)
    assert parse_one((allowed + end) * 2).messages == [(Opcode.TEXT, b"a")] * 2
    assert parse_one(allowed + middle).failure_code is CloseCode.POLICY


def test_full_fragments_are_bounded_by_the_message_size_only() -> None:
    bit = client_frame(Opcode.CONTINUATION, b"b", fin=False)
    data = TEXT_START + bit * 4998 + client_frame(Opcode.CONTINUATION, b"c")
    assert parse_one(data, 5000).messages == [(Opcode.TEXT, b"a" + b"b" * 4998 + b"c")]


def test_messages_before_a_failure_are_returned_and_nothing_after_it() -> None:
    parser = FrameParser(LIMIT)
    bad = client_frame(Opcode.TEXT, key=None)
    assert parser.feed(text("a") + text("b") + bad + text("c")) == [
        (Opcode.TEXT, b"a"),
        (Opcode.TEXT, b"b"),
    ]
    failure = parser.failure
    assert failure is not None
    assert parser.feed(text("d") + client_frame(Opcode.CLOSE) + client_frame(3)) == []
    assert parser.failure is failure
    assert parser.close_code is None
    assert held(parser) == 0


def test_failure_is_a_frozen_value() -> None:
    failure = Failure(CloseCode.POLICY, "why")
    assert failure == Failure(CloseCode.POLICY, "why")
    with pytest.raises(AttributeError):
        failure.reason = "other"  # type: ignore[misc]  # That is the point.


# Close frames


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
)
def test_close_code_allowed(code: int) -> None:
    payload = close_payload(code, "schön".encode())
    outcome = parse_one(client_frame(Opcode.CLOSE, payload))
    assert outcome == ([(Opcode.CLOSE, payload)], None, code, "schön")


@pytest.mark.parametrize(
    "code", [0, 1, 255, 256, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65535]
)
def test_close_code_refused(code: int) -> None:
    outcome = parse_one(client_frame(Opcode.CLOSE, close_payload(code)))
    assert outcome.failure_code is CloseCode.PROTOCOL_ERROR
    assert outcome.messages == []
    assert (outcome.close_code, outcome.close_reason) == (None, None)


def test_close_without_code() -> None:
    assert parse_one(client_frame(Opcode.CLOSE)) == ([(Opcode.CLOSE, b"")], None, 1005, "")


def test_close_reason_that_is_not_utf8() -> None:
    outcome = parse_one(client_frame(Opcode.CLOSE, close_payload(1000, b"\xff")))
    assert outcome.failure_code is CloseCode.INVALID_DATA
    assert (outcome.close_code, outcome.close_reason) == (None, None)


def test_everything_after_a_close_is_ignored() -> None:
    parser = FrameParser(LIMIT)
    first_close = client_frame(Opcode.CLOSE, close_payload(1000, b"bye"))
    data = TEXT_START + first_close + b"\xff\xff" + client_frame(Opcode.CLOSE, close_payload(1001))
    assert parser.feed(data) == [(Opcode.CLOSE, close_payload(1000, b"bye"))]
    assert parser.feed(text("a") + b"\xff\xff") == []
    assert (parser.failure, parser.close_code, parser.close_reason) == (None, 1000, "bye")
    assert held(parser) == 0


# Memory and work


def test_idle_parser_holds_nothing() -> None:
    parser = FrameParser(MIB)
    assert held(parser) == 0
    data = client_frame(Opcode.TEXT, b"a" * 70000, fin=False) + client_frame(0, b"b")
    for chunk in cut(data, [1, 9999]):
        parser.feed(chunk)
    parser.feed(text("done"))
    assert held(parser) == 0
    assert not any(isinstance(it, bytearray) for it in gc.get_referents(parser))
    assert not hasattr(parser, "__dict__")


def test_announced_length_reserves_nothing() -> None:
    parser = FrameParser(1 << 40)
    header = raw_length(0x82, 8, 1 << 39)
    parser.feed(header)
    assert held(parser) == len(header)


@pytest.mark.parametrize("chunk", [1000, 4096, 65536])
def test_large_message_in_many_chunks(chunk: int) -> None:
    payload = bytes(range(256)) * (MIB // 256)
    data = websockets.frames.Frame(websockets.frames.Opcode.BINARY, payload).serialize(mask=True)
    parser = FrameParser(MIB)
    messages = [m for piece in cut(data + text("x"), [chunk]) for m in feed(parser, piece)]
    assert messages == [(Opcode.BINARY, payload), (Opcode.TEXT, b"x")]


def test_message_byte_by_byte() -> None:
    payload = "Grüße ".encode() * 10_000
    parser = FrameParser(MIB)
    data = client_frame(Opcode.TEXT, payload) + client_frame(Opcode.CLOSE)
    messages = [m for piece in cut(data, [1]) for m in parser.feed(piece)]
    assert messages == [(Opcode.TEXT, payload), (Opcode.CLOSE, b"")]


# Properties

SMALL_LIMIT = 300

masks = st.binary(min_size=4, max_size=4)
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=6)
control_messages = st.tuples(st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125))
data_messages = st.one_of(
    st.tuples(st.just(Opcode.TEXT), st.text(max_size=70).map(str.encode)),
    st.tuples(st.just(Opcode.BINARY), st.binary(max_size=SMALL_LIMIT)),
)
Session: TypeAlias = tuple[bytes, list[Message]]


@st.composite
def fragmented_messages(draw: st.DrawFn) -> Session:
    """One data message cut into frames, control frames among them, and what it means."""
    opcode, payload = draw(data_messages)
    sizes = draw(st.lists(st.integers(0, 99), max_size=5))
    fragments = cut(payload, [*sizes, 50]) or [b""]
    data = b""
    messages: list[Message] = []
    for number, fragment in enumerate(fragments):
        is_last = number == len(fragments) - 1
        frame_opcode = Opcode.CONTINUATION if number else opcode
        data += client_frame(frame_opcode, fragment, fin=is_last, key=draw(masks))
        if not is_last and draw(st.booleans()):
            control = draw(control_messages)
            messages.append(control)
            data += client_frame(*control, key=draw(masks))
    return data, [*messages, (opcode, payload)]


def whole_message(message: Message, key: bytes) -> Session:
    return client_frame(*message, key=key), [message]


whole_messages = st.builds(whole_message, st.one_of(data_messages, control_messages), masks)


def joined(parts: list[Session]) -> Session:
    return b"".join(data for data, _ in parts), [m for _, messages in parts for m in messages]


sessions = st.lists(st.one_of(whole_messages, fragmented_messages()), max_size=6).map(joined)


@given(sessions, cuts)
def test_valid_frames_mean_the_same_however_cut(session: Session, sizes: list[int]) -> None:
    data, messages = session
    expected = Outcome(list(messages), None, None, None)
    assert parse_one(data, SMALL_LIMIT) == expected
    assert parse(cut(data, sizes), SMALL_LIMIT) == expected


# Frames in which each field is right or wrong by its own chance.
dubious_frames = st.builds(
    client_frame,
    st.sampled_from([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 8, 9, 10, 3]),
    st.one_of(
        st.binary(max_size=4),
        st.text(max_size=20).map(str.encode),
        st.integers(100, SMALL_LIMIT + 1).map(bytes),
        st.builds(close_payload, st.sampled_from([1000, 1005, 4000]), st.binary(max_size=3)),
    ),
    fin=st.booleans(),
    reserved=st.sampled_from([0] * 19 + [1]),
    key=st.sampled_from([KEY] * 19 + [None]),
    length_bytes=st.sampled_from([None] * 9 + [2, 8]),
)


def with_byte_changed(data: bytes, at: int, value: int) -> bytes:
    at %= len(data) + 1
    return data[:at] + bytes([value]) + data[at + 1 :]


streams = st.one_of(
    st.binary(max_size=200),
    st.lists(dubious_frames, max_size=8).map(b"".join),
    st.tuples(sessions, dubious_frames, sessions).map(lambda it: it[0][0] + it[1] + it[2][0]),
    st.builds(
        with_byte_changed, sessions.map(lambda it: it[0]), st.integers(0, 999), st.integers(0, 255)
    ),
)


@given(streams, cuts)
@example(text("a") + client_frame(Opcode.CLOSE) + b"\x00\x00", [1])
@example(text("a") + client_frame(Opcode.PING, key=None) + text("b"), [1])
@example(raw_length(0x82, 8, 1 << 63), [1])
def test_any_bytes_mean_the_same_however_cut(data: bytes, sizes: list[int]) -> None:
    whole = parse_one(data, SMALL_LIMIT)
    assert parse(cut(data, sizes), SMALL_LIMIT) == whole
    assert parse(cut(data, [1]), SMALL_LIMIT) == whole
    assert whole.failure is None or whole.close_code is None
    assert all(len(payload) <= SMALL_LIMIT for _, payload in whole.messages)


any_opcode = st.sampled_from([Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG])


@given(any_opcode, st.one_of(st.binary(max_size=125), st.text(max_size=125 // 4).map(str.encode)))
@example(Opcode.BINARY, bytes(126))
@example(Opcode.TEXT, bytes(65535))
@example(Opcode.TEXT, bytes(65536))
def test_reads_what_websockets_writes(opcode: Opcode, payload: bytes) -> None:
    if opcode is Opcode.TEXT:
        payload = payload.decode(errors="replace").encode()
    frame = websockets.frames.Frame(websockets.frames.Opcode(opcode), payload)
    assert parse_one(frame.serialize(mask=True), MIB).messages == [(opcode, payload)]


# Encoding


def read_with_websockets(data: bytes) -> websockets.frames.Frame:
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    parsing: Generator[None, None, websockets.frames.Frame] = websockets.frames.Frame.parse(
        reader.read_exact, mask=False
    )
    try:
        next(parsing)
    except StopIteration as result:
        assert reader.buffer == b""
        frame = result.value
        assert isinstance(frame, websockets.frames.Frame)
        return frame
    raise AssertionError("unfinished frame")


@given(any_opcode, st.binary(max_size=125))
@example(Opcode.TEXT, bytes(126))
@example(Opcode.TEXT, bytes(65535))
@example(Opcode.BINARY, bytes(65536))
def test_websockets_reads_what_we_write(opcode: Opcode, payload: bytes) -> None:
    frame = read_with_websockets(encode_frame(opcode, payload))
    assert (int(frame.opcode), frame.data, frame.fin) == (opcode, payload, True)
    assert encode_frame(opcode, payload) == frame_header(opcode, len(payload)) + payload


def test_control_frame_too_long_to_send() -> None:
    with pytest.raises(ValueError, match="126"):
        encode_frame(Opcode.PING, bytes(126))


@given(st.sampled_from([*CloseCode, 3000, 4999]), st.text())
@example(CloseCode.NORMAL, "a" * 123)
@example(CloseCode.NORMAL, "a" * 122 + "é")
@example(CloseCode.NORMAL, "€" * 50)
@example(CloseCode.NORMAL, "🙂" * 50)
def test_close_reason_is_cut_at_a_character(code: int, reason: str) -> None:
    close = websockets.frames.Close.parse(
        bytes(read_with_websockets(encode_close(code, reason)).data)
    )
    assert close.code == code
    assert reason.startswith(close.reason)
    size = len(close.reason.encode())
    assert size <= 123
    if close.reason != reason:
        assert size + len(reason[len(close.reason)].encode()) > 123


def test_close_reason_that_cannot_be_encoded_is_still_sent() -> None:
    assert encode_close(1000, "a\ud800").endswith(b"a?")


def test_close_without_code_can_be_echoed() -> None:
    assert encode_close(1005, "unused") == b"\x88\x00"


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 2999, 5000, 70000])
def test_close_code_that_must_not_be_sent(code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        encode_close(code)
