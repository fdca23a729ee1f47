"""The data of every event: it is what it should be, or the answer says what it should be."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.errors import ChatError, ErrorCode
from parley.event_data import DELIVERY_QUESTION, DRAFT, RECEIVED_MARK, read_query
from parley.socketio.events import Event
from parley.socketio.packets import PacketError, PacketType, decode_array

from .inputs import EVENTS, KEYS, LONG, json_texts, nested
from .profile import budget

READERS: dict[str, Callable[[Event], object]] = {
    "send message": DRAFT.read,
    "receive message": RECEIVED_MARK.read,
    "unreceived messages": read_query,
    "all messages": read_query,
    "delivery": DELIVERY_QUESTION.read,
}
"""How the data of each event is read."""
INTERNAL = re.compile(r"msgspec|\.py\b|Traceback|Error\b|codec|recursion|<class|0x[0-9a-f]{6}")


class Nobody:
    """Whom no answer reaches."""

    def send_values(
        self, packet_type: PacketType, ack_id: int | None, values: tuple[object, ...]
    ) -> None: ...

    def send_json(self, packet_type: PacketType, ack_id: int | None, array: bytes) -> None: ...


def read(name: str, *arguments: str, attachments: list[bytes] | None = None) -> Any:
    """The data as the gateway reads it, or the refusal that the client gets.

    PacketError: it is no event at all.
    """
    array = ",".join([f'"{name}"', *arguments])
    raw = decode_array(f"[{array}]".encode(errors="replace"))
    try:
        return READERS[name](Event(Nobody(), name, raw, 1, attachments))
    except ChatError as error:
        refusal = error
    assert refusal.code is ErrorCode.BAD_REQUEST
    assert not refusal.retryable
    assert not INTERNAL.search(refusal.message), refusal.message
    assert len(refusal.message) < 300
    return refusal


data = json_texts | st.lists(st.tuples(st.sampled_from(KEYS), json_texts), max_size=6).map(
    lambda pairs: "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
)


@budget(250)
@given(st.sampled_from(list(READERS)), st.lists(data, max_size=3), st.booleans())
@example("send message", ['{"receiver":"a","receiver":"b","message":"c"}'], False)
@example("all messages", ["-0"], False)
def test_any_data(name: str, arguments: list[str], binary: bool) -> None:
    with contextlib.suppress(PacketError):
        read(name, *arguments, attachments=[b"x"] if binary else None)


def test_every_event_has_its_reader_here() -> None:
    """But for `ping`, which looks at nothing."""
    assert READERS.keys() == set(EVENTS) - {"ping"}


NUMBERS = {
    "1e400": "1e400",
    "-1e400": "-1e400",
    "10**5000": "1" + "0" * LONG,
    "-10**5000": "-1" + "0" * LONG,
    "NaN": "NaN",
    "Infinity": "Infinity",
    "a float": "1.5",
    "a whole float": "1.0",
    "text": '"1"',
    "true": "true",
}


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("name", ["unreceived messages", "all messages"])
def test_numbers_that_count_nothing(name: str, number: str) -> None:
    try:
        found = read(name, f'{{"limit":{number}}}')
    except PacketError:
        return  # no JSON at all
    if number == "1.0":
        assert isinstance(found, ChatError) or found.limit == 1
    else:
        assert isinstance(found, ChatError)


@pytest.mark.parametrize("number", ["-0", "0", "-1", str(2**64), "1" + "0" * 400])
def test_whole_numbers_of_any_size_are_read(number: str) -> None:
    assert read("all messages", f'{{"limit":{number}}}').limit == int(number)


SENDING = '"receiver":"00000000-0000-4000-8000-000000000000","message":"hi"'
IGNORED = {
    "__proto__": '"__proto__":{"receiver":"x"}',
    "constructor": '"constructor":{"prototype":{}}',
    "a key beyond Unicode": '"\\ud83d\\ude00":1',
    "an empty key": '"":1',
    "NUL in a key": '"\\u0000":1',
    "a long key": f'"{"k" * 100_000}":1',
    "nested lists": '"x":' + nested(500),
    "ten thousand keys": ",".join(f'"k{number}":0' for number in range(10_000)),
}


@pytest.mark.parametrize("more", IGNORED.values(), ids=IGNORED)
def test_keys_that_mean_nothing_mean_nothing(more: str) -> None:
    draft = read("send message", f"{{{SENDING},{more}}}")
    assert draft == read("send message", f"{{{SENDING}}}")


def test_of_a_key_that_comes_twice_the_last_counts() -> None:
    """As for JavaScript's parser; nobody else reads it, so that nobody can read it otherwise."""
    assert read("send message", f'{{{SENDING},"message":"bye"}}').message == "bye"
