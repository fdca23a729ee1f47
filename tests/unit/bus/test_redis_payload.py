from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.bus.redis_payload import MAX_SEQ, NOTICE, PayloadFormat, unpack


@given(st.integers(1, MAX_SEQ), st.binary())
def test_what_is_packed_can_be_unpacked_by_others(seq: int, packet: bytes) -> None:
    assert unpack(PayloadFormat().head(seq) + packet) == (seq, packet)


@given(st.binary())
def test_a_notice_has_no_seq(packet: bytes) -> None:
    assert unpack(PayloadFormat().head(NOTICE) + packet) == (0, packet)


@pytest.mark.parametrize("seq", [NOTICE, 7])
def test_each_bus_knows_its_own(seq: int) -> None:
    mine, others = PayloadFormat(), PayloadFormat()
    assert mine.head(seq).startswith(mine.own)
    assert not others.head(seq).startswith(mine.own)


def test_the_format_is_documented() -> None:
    payload = b"\x01" + b"abcdefgh" + b"\0\0\0\0\0\0\1\2" + b"packet"
    assert unpack(payload) == (258, b"packet")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        b"\x01" + bytes(15),  # too short by a byte
        b"\x01" + bytes(8) + b"\x80" + bytes(7) + b"x",  # seq 2**63
        b"\x01" + bytes(8) + b"\xff" * 8,
        b"\x00" + bytes(15) + b"\1",
        b"\x02" + bytes(15) + b"\1",
        b'42["message",{}]' + bytes(10),
        b"cbuiltins\nexit\n(tR.",  # a pickle
        "\x01" + "\x01" * 20,
        12,
        None,
        [b"\x01" + bytes(15) + b"\1"],
    ],
)
def test_anything_else_is_none(payload: object) -> None:
    assert unpack(payload) is None


@given(st.binary())
def test_arbitrary_bytes_do_no_harm(payload: bytes) -> None:
    push = unpack(payload)
    if push is not None:
        seq, packet = push
        assert payload == b"\x01" + payload[1:9] + seq.to_bytes(8, "big") + packet
