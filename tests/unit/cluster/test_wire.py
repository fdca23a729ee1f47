from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.cluster import wire
from parley.cluster.wire import (
    Answer,
    Beat,
    Call,
    Cancel,
    Failed,
    FrameReader,
    Message,
    TooLarge,
    WireError,
)

IDS = st.integers(min_value=0, max_value=2**63 - 1)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Call, IDS, st.text(max_size=20), st.binary(max_size=300)),
    st.builds(Cancel, IDS),
    st.builds(Answer, IDS, st.binary(max_size=300)),
    st.builds(Failed, IDS, st.text(max_size=20)),
    st.just(Beat()),
)


@given(st.lists(MESSAGES), st.integers(min_value=1, max_value=50))
def test_messages_arrive_as_they_were_sent_in_whatever_pieces(
    messages: list[Message], piece: int
) -> None:
    sent = b"".join(wire.encode(message, 1000) for message in messages)
    reader = FrameReader(1000)

    arrived: list[Message] = []
    for start in range(0, len(sent), piece):
        arrived += reader.feed(sent[start : start + piece])

    assert arrived == messages


def test_a_message_that_is_too_large_is_not_sent() -> None:
    frame = wire.encode(Answer(1, bytes(90)), 100)

    assert FrameReader(100).feed(bytes(frame)) == [Answer(1, bytes(90))]
    with pytest.raises(TooLarge):
        wire.encode(Answer(1, bytes(100)), 100)


def test_a_frame_that_is_too_large_is_refused_before_it_has_arrived() -> None:
    with pytest.raises(WireError, match="a frame of 101 bytes"):
        FrameReader(100).feed((101).to_bytes(4, "big"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",  # never used in MessagePack
        b"\x90",  # an array without a tag
        b"\x91\x09",  # a tag that nobody knows
        b"\x93\x00\x01\xa4poll",  # a Call without a body
        b"\x91\x04\x00",  # something behind the message
    ],
)
def test_what_is_no_message(body: bytes) -> None:
    with pytest.raises(WireError):
        FrameReader(100).feed(len(body).to_bytes(4, "big") + body)


def test_messages_of_later_versions_may_have_further_fields() -> None:
    body = b"\x93\x01\x07\xa5extra"

    assert FrameReader(100).feed(len(body).to_bytes(4, "big") + body) == [Cancel(7)]


def test_a_proof_is_good_for_one_key_one_side_and_one_link() -> None:
    proofs = {
        wire.proof(key, role, nonces)
        for key in (b"one key", b"another")
        for role in (wire.CALLER, wire.NODE)
        for nonces in (bytes(64), bytes(63) + b"\x01")
    }

    assert len(proofs) == 8
    assert {len(proof) for proof in proofs} == {wire.PROOF_SIZE}
