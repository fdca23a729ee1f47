from __future__ import annotations

import uuid

import pytest
import redis.crc
from hypothesis import given
from hypothesis import strategies as st

from parley.bus.redis_connection import Address
from parley.bus.redis_slots import SLOTS, primaries, slot_of

ASKED = Address("asked", 1)


@given(st.binary() | st.lists(st.sampled_from([b"{", b"}", b"a", b"b"])).map(b"".join))
def test_slots_are_those_of_another_client(name: bytes) -> None:
    assert slot_of(name) == redis.crc.key_slot(name)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        (b"{user1000}.following", b"user1000"),
        (b"foo{bar}{zap}", b"bar"),
        (b"foo{{bar}}zap", b"{bar"),
    ],
)
def test_only_the_first_braces_count(name: bytes, same: bytes) -> None:
    assert slot_of(name) == slot_of(same)


def test_empty_braces_do_not_count() -> None:
    assert slot_of(b"foo{}{bar}") != slot_of(b"bar")


def test_channels_are_spread() -> None:
    names = [f"parley:0:inbox:{uuid.UUID(int=number)}".encode() for number in range(1000)]
    assert len({slot_of(name) * 3 // SLOTS for name in names}) == 3


def test_primaries_of_slots() -> None:
    reply = [
        [0, 99, [b"a", 7001, b"id", []], [b"replica", 7009, b"id"]],
        [200, SLOTS - 1, [b"b.example", 7002]],
    ]
    servers = primaries(reply, ASKED)
    assert len(servers) == SLOTS
    assert set(servers[:100]) == {Address("a", 7001)}
    assert set(servers[100:200]) == {None}
    assert set(servers[200:]) == {Address("b.example", 7002)}


@pytest.mark.parametrize("host", [b"", None])
def test_a_server_that_does_not_know_its_address_is_the_one_that_was_asked(
    host: bytes | None,
) -> None:
    assert primaries([[5, 5, [host, 7001, b"id", []]]], ASKED)[5] == Address("asked", 7001)
