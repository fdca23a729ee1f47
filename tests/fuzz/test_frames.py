"""The frame parser: any bytes, cut in any way."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.socketio.frames import (
    MAX_EMPTY_FRAGMENTS,
    TURN_BYTES,
    CloseCode,
    Failure,
    FrameParser,
    Message,
    Opcode,
)
from tests.services.frames import BINARY, CONTINUATION, PING, PONG, TEXT, encode_frame

from .inputs import cuts, pieces, streams
from .profile import budget

LIMIT = 1_000
ROOM = LIMIT + 130
"""Bytes that a parser may hold; its docstring says why."""
FAILURES = {
    CloseCode.PROTOCOL_ERROR,
    CloseCode.INVALID_DATA,
    CloseCode.POLICY,
    CloseCode.TOO_BIG,
}


class Outcome(NamedTuple):
    messages: list[Message]
    failure: Failure | None
    close_code: int | None


def held(parser: FrameParser) -> int:
    return len(parser._pending or b"") + len(parser._message or b"")


def feed(parser: FrameParser, data: bytes) -> list[Message]:
    """All that ``data`` completes, in as many turns as that takes."""
    messages = parser.feed(data)
    while parser.more:
        messages += parser.feed(b"")
    return messages


def parse(chunks: list[bytes]) -> Outcome:
    parser = FrameParser(LIMIT)
    messages: list[Message] = []
    for chunk in chunks:
        messages += feed(parser, chunk)
        assert held(parser) <= ROOM
    return Outcome(messages, parser.failure, parser.close_code)


@budget(200)
@given(streams | st.binary(max_size=300), cuts)
@example(encode_frame(TEXT, b"4" * 126, announced=(1 << 64) - 1), [1])
@example(encode_frame(PING, b"x" * 126) + encode_frame(TEXT, b"4"), [7])
@example(encode_frame(BINARY, b"", final=False) * (MAX_EMPTY_FRAGMENTS + 2), [60])
def test_any_stream(data: bytes, sizes: list[int]) -> None:
    whole = parse([data])
    assert parse(pieces(data, sizes)) == whole
    assert whole.failure is None or whole.failure.code in FAILURES
    for opcode, payload in whole.messages:
        assert len(payload) <= (LIMIT if opcode in (TEXT, BINARY) else 125)
        if opcode == TEXT:
            payload.decode()
    closes = [opcode for opcode, _ in whole.messages if opcode is Opcode.CLOSE]
    assert len(closes) == (whole.close_code is not None)
    assert not (closes and whole.failure)


NAMED = {
    "a reserved bit: compressed, without an agreement": (
        encode_frame(TEXT, b"4", reserved=4),
        1002,
    ),
    "another reserved bit": (encode_frame(TEXT, b"4", reserved=1), 1002),
    "a fragmented ping": (encode_frame(PING, b"x", final=False), 1002),
    "a fragmented close": (encode_frame(8, b"", final=False), 1002),
    "a ping of 126 bytes": (encode_frame(PING, b"x" * 126), 1002),
    "a close of one byte": (encode_frame(8, b"x"), 1002),
    "an opcode that is none": (encode_frame(3, b"x"), 1002),
    "a frame without a mask": (encode_frame(TEXT, b"4", masked=False), 1002),
    "a length in more bytes than it takes": (encode_frame(TEXT, b"4", form=8), 1002),
    "a length of 2**63": (encode_frame(TEXT, b"", announced=1 << 63), 1002),
    "a length of 2**62": (encode_frame(TEXT, b"", announced=1 << 62), 1009),
    "a fragment of nothing": (encode_frame(CONTINUATION, b"x"), 1002),
    "a message within a message": (
        encode_frame(TEXT, b"a", final=False) + encode_frame(TEXT, b"b"),
        1002,
    ),
    "bytes that are no text": (encode_frame(TEXT, b"\xff"), 1007),
    "half a character": (encode_frame(TEXT, b"4\xf0\x9f\x98"), 1007),
    "a surrogate, as if it were text": (encode_frame(TEXT, b"4\xed\xa0\x80"), 1007),
    "an overlong NUL": (encode_frame(TEXT, b"4\xc0\x80"), 1007),
    "fragments that are too much together": (
        encode_frame(BINARY, b"x" * 600, final=False) + encode_frame(CONTINUATION, b"x" * 600),
        1009,
    ),
}


@pytest.mark.parametrize(("data", "code"), NAMED.values(), ids=NAMED)
def test_what_fails_a_connection(data: bytes, code: int) -> None:
    parser = FrameParser(LIMIT)
    parser.feed(data)
    assert parser.failure is not None
    assert parser.failure.code == code
    assert parser.feed(encode_frame(TEXT, b"4")) == []
    assert held(parser) == 0


@pytest.mark.parametrize(
    "tiny",
    [encode_frame(TEXT, b"6"), encode_frame(PONG), encode_frame(PING, b"x")],
    ids=["noop", "pong", "ping"],
)
def test_tiny_frames_are_taken_a_turn_at_a_time(tiny: bytes) -> None:
    count = 256 * 1024 // len(tiny)
    parser, turns = FrameParser(LIMIT), []
    turns.append(len(parser.feed(tiny * count)))
    while parser.more:
        turns.append(len(parser.feed(b"")))
    assert sum(turns) == count
    assert max(turns) <= TURN_BYTES // len(tiny) + 1
    assert held(parser) == 0


def test_a_message_in_tiny_fragments_is_taken_a_turn_at_a_time() -> None:
    size = 100_000
    data = (
        encode_frame(BINARY, b"", final=False)
        + encode_frame(CONTINUATION, b"x", final=False) * size
    )
    parser, turns = FrameParser(size), 1
    assert parser.feed(data) == []
    while parser.more:
        turns += 1
        assert parser.feed(b"") == []
    assert turns >= len(data) // (TURN_BYTES + 7)
    assert parser.feed(encode_frame(CONTINUATION, b"x")) == []
    assert parser.failure is not None  # one byte too many
    assert parser.failure.code is CloseCode.TOO_BIG


def test_a_large_frame_is_taken_at_once() -> None:
    parser, payload = FrameParser(1 << 20), bytes(1 << 20)
    data = encode_frame(BINARY, payload)
    taken = [message for piece in pieces(data, [256 * 1024]) for message in parser.feed(piece)]
    assert taken == [(Opcode.BINARY, payload)]
    assert not parser.more


def test_nothing_is_put_off_behind_the_end() -> None:
    parser = FrameParser(LIMIT)
    parser.feed(
        encode_frame(PONG) * 5_000
        + encode_frame(TEXT, b"x", reserved=4)
        + encode_frame(PONG) * 5_000
    )
    while parser.more:
        parser.feed(b"")
    assert parser.failure is not None
    assert held(parser) == 0
