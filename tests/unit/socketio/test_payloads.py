"""The payloads of long-polling: several packets in one request or answer."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.socketio.payloads import (
    MAX_PACKETS,
    PayloadError,
    decode_payload,
    encode_binary,
    encode_payload,
)

letters = st.characters(codec="utf-8", exclude_characters="\x1e")
texts = st.text(letters).map(lambda text: b"4" + text.encode())
packets = st.lists(
    st.tuples(st.just(True), st.binary()) | st.tuples(st.just(False), texts),
    min_size=1,
)


@settings(deadline=None)
@given(packets)
def test_payload_comes_back_as_it_was(sent: list[tuple[bool, bytes]]) -> None:
    polled = [encode_binary(content) if binary else content for binary, content in sent]
    assert decode_payload(encode_payload(polled)) == sent


@settings(deadline=None)
@given(st.binary() | st.text("b\x1e4=A").map(str.encode))
def test_any_body_is_a_payload_or_a_payload_error(body: bytes) -> None:
    with contextlib.suppress(PayloadError):
        decode_payload(body)


@pytest.mark.parametrize(
    "body", [b"", b"\x1e", b"4a\x1e", b"\x1e4a", b"4\xff", b"b*", b"bAAA", b"bA A="]
)
def test_bad_payload_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError):
        decode_payload(body)


def test_a_payload_has_a_bounded_number_of_packets() -> None:
    assert len(decode_payload(b"\x1e".join([b"6"] * MAX_PACKETS))) == MAX_PACKETS
    with pytest.raises(PayloadError):
        decode_payload(b"\x1e".join([b"6"] * (MAX_PACKETS + 1)))


def test_payload_of_the_protocol() -> None:
    assert decode_payload("4hello\x1e2\x1e4€\x1ebAQIDBA==".encode()) == [
        (False, b"4hello"),
        (False, b"2"),
        (False, "4€".encode()),
        (True, b"\x01\x02\x03\x04"),
    ]
    assert encode_binary(b"\x01\x02\x03\x04") == b"b" + base64.b64encode(b"\x01\x02\x03\x04")
