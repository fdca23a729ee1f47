"""What hostile peers send: JSON that is odd or no JSON, packets, frames."""

from __future__ import annotations

import itertools
import json

from hypothesis import strategies as st

from tests.services.frames import BINARY, CONTINUATION, PONG, TEXT, encode_frame

LONG = 5_000
"""Digits of a number that is larger than anything that counts."""

NUMBERS = [
    "0", "-0", "1", "-1", "1.5", "1e3", "01", "1.", "-", "+1", "0x10", "1e400", "-1e400", "1e-400",
    "NaN", "Infinity", "-Infinity", str(2**53), str(2**63), str(2**64), str(-(2**63) - 1),
]  # fmt: skip
STRINGS = [
    '""', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\u0000"', '"\\u202e"',
    '"__proto__"', '"constructor"', '"toString"', '"\ufeff"', '"\\"', '"', '"\\x"', "'a'",
    '"00000000-0000-4000-8000-000000000000"',
]  # fmt: skip
LARGE = {
    "a number of 4,300 digits": "9" * 4_300,
    "a longer number": "9" * LONG,
    "a longer negative number": "-" + "9" * LONG,
    "a fraction": "0." + "1" * LONG,
    "a text": f'"{"x" * LONG}"',
}
"""By name, because hypothesis shows what it chooses from."""
WORDS = ["null", "true", "false", "nul", "undefined", "", "\ufeff", " ", "\t", "\u0000", "\u2028"]
EVENTS = [
    "ping", "send message", "receive message", "unreceived messages", "all messages", "delivery",
]  # fmt: skip
KEYS = [
    "receiver", "message", "id", "chatId", "chatIds", "before", "after", "limit", "token",
    "receipts", "__proto__", "constructor", "_placeholder", "num",
]  # fmt: skip


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    """Brackets in one another."""
    return opening * depth + closing * depth


def _object(pairs: list[tuple[str, str]]) -> str:
    """With its keys as they come: several may be the same."""
    return "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in pairs) + "}"


_keys = st.sampled_from(KEYS) | st.text(max_size=8)
_leaves = st.one_of(
    st.sampled_from([*NUMBERS, *STRINGS, *WORDS]),
    st.sampled_from(list(LARGE)).map(lambda name: LARGE[name]),
    st.text(max_size=20).map(json.dumps),
    st.integers().map(str),
    st.sampled_from([300, 990, 1_100, 6_000]).map(nested),
    st.sampled_from([300, 990, 1_100]).map(lambda depth: '{"a":' * depth + "1" + "}" * depth),
)
json_texts = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: "[" + ",".join(items) + "]"),
        st.lists(st.tuples(_keys, inner), max_size=5).map(_object),
    ),
    max_leaves=8,
)
"""Mostly JSON, duplicate keys and all; some of it none."""

event_arrays = st.tuples(
    st.sampled_from([json.dumps(name) for name in EVENTS]) | json_texts,
    st.lists(json_texts, max_size=3),
).map(lambda parts: "[" + ",".join([parts[0], *parts[1]]) + "]")
"""An event's name and data, as the JSON of its packet."""

_namespaces = st.sampled_from(["", "/", "/,", "/admin,", "/__proto__,", ","]) | st.just(LONG).map(
    lambda length: "/" + "n" * length + ","
)
_ids = st.sampled_from(["", "0", "1", str(2**53 - 1), str(2**53)]) | st.sampled_from(
    [16, 17, LONG]
).map(lambda digits: "9" * digits)
_counts = st.sampled_from(["", "0-", "1-", "2-", "10-", "11-", "9999-", "99999-", "-"])
packets = st.builds(
    "".join,
    st.tuples(st.sampled_from("0123456789"), _counts, _namespaces, _ids, event_arrays | json_texts),
)
"""Socket.IO packets, some of them whole."""

engine_texts = st.one_of(
    packets.map("4{}".format),
    st.sampled_from(["", "0", "1", "2", "2probe", "3", "3probe", "4", "5", "6", "7", "\ufeff40"]),
    st.text(max_size=30),
)
"""Engine.IO text packets."""

_payloads = st.one_of(
    engine_texts.map(lambda text: text.encode(errors="replace")),
    st.binary(max_size=150),
    st.sampled_from(
        [b"\xff", b"4\xed\xa0\x80", b"4\xf0\x9f\x98", b"4\xc0\x80", b"\x03\xe8", b"\x00"]
    ),
)
_proper_frames = st.builds(
    encode_frame,
    st.sampled_from([TEXT, TEXT, BINARY, PONG]),
    _payloads.filter(lambda payload: len(payload) < 126),
)
_odd_frames = st.builds(
    encode_frame,
    st.integers(0, 15),
    _payloads,
    final=st.booleans(),
    reserved=st.sampled_from([0, 0, 0, 1, 4, 7]),
    masked=st.sampled_from([True, True, True, False]),
    announced=st.sampled_from([None, None, None, None, 0, 126, 1 << 16, 1 << 62, (1 << 64) - 1]),
    form=st.sampled_from([0, 0, 0, 2, 8]),
)
_fragments = st.lists(_payloads, min_size=1, max_size=5).map(
    lambda parts: b"".join(
        encode_frame(TEXT if not at else CONTINUATION, part, final=at == len(parts) - 1)
        for at, part in enumerate(parts)
    )
)
streams = st.lists(
    _proper_frames | _odd_frames | _fragments | st.binary(max_size=20), max_size=6
).map(b"".join)
"""What arrives on a WebSocket."""

cuts = st.lists(st.integers(1, 60), min_size=1, max_size=5)


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """``data``, cut into ``sizes`` over and over."""
    found, at, turn = [], 0, itertools.cycle(sizes)
    while at < len(data):
        size = next(turn)
        found.append(data[at : at + size])
        at += size
    return found
