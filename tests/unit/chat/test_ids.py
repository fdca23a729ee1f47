"""UUIDs as text."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.chat.ids import Uuid7, parse_uuid

uuid7 = Uuid7()
A_UUID = "0f9c1b2a-3d4e-4f5a-8b6c-7d8e9f0a1b2c"


@settings(deadline=None)
@given(st.uuids())
def test_every_uuid_is_read_whatever_its_case(value: uuid.UUID) -> None:
    assert parse_uuid(str(value)) == parse_uuid(str(value).upper()) == str(value)


@settings(deadline=None)
@given(st.text() | st.text("0123456789abcdefABCDEF-{}:urn \n٣", max_size=40))
def test_what_is_read_is_in_canonical_form(text: str) -> None:
    parsed = parse_uuid(text)
    assert parsed is None or (parsed == text.lower() == str(uuid.UUID(parsed)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        A_UUID[:-1],
        A_UUID + "0",
        A_UUID + "\n",
        " " + A_UUID,
        A_UUID.replace("-", ""),
        "{" + A_UUID + "}",
        "urn:uuid:" + A_UUID,
        A_UUID.replace("a", "g"),
        A_UUID.replace("-", "_"),
        A_UUID.replace("0", "٠"),  # noqa: RUF001 - a digit, but not one of ASCII's
        A_UUID.replace("f", "ｆ"),  # noqa: RUF001 - its lower case is not an f either
    ],
)
def test_what_is_no_uuid_is_refused(text: str) -> None:
    assert parse_uuid(text) is None


@settings(deadline=None)
@given(st.integers(0, 2**48 - 1))
def test_version_7(milliseconds: int) -> None:
    text = uuid7(milliseconds)
    parsed = uuid.UUID(text)
    assert parse_uuid(text) == text == str(parsed)
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert parsed.int >> 80 == milliseconds


@settings(deadline=None)
@given(st.integers(0, 2**48 - 2), st.integers(1, 1000))
def test_later_ones_sort_behind(milliseconds: int, passed: int) -> None:
    later = min(milliseconds + passed, 2**48 - 1)
    assert uuid7(milliseconds) < uuid7(later)


def test_those_of_one_millisecond_differ_and_go_up() -> None:
    made = [uuid7(1_760_000_000_000) for _ in range(10_000)]
    assert made == sorted(set(made))


def test_those_of_several_makers_differ() -> None:
    assert len({Uuid7()(1_760_000_000_000) for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize("milliseconds", [-1, -(10**15), 2**48, 10**30])
def test_an_impossible_time_gives_a_uuid_all_the_same(milliseconds: int) -> None:
    """A clock may be wrong."""
    assert uuid.UUID(uuid7(milliseconds)).version == 7
    assert uuid.UUID(Uuid7()(milliseconds)).version == 7  # the first one that it makes, too
