"""What is printed, and what stays open; in the end it reads as the conversation went."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from parley.model import Chat, ChatId, UserId
from parley.terminal.client import Draft
from parley.terminal.errors import Failure
from parley.terminal.transcript import Line, Transcript

NOON = datetime(2026, 3, 1, 12, 0)  # noqa: DTZ001 - local, as people read it
BOB, CAROL = UserId("bob"), UserId("carol")


def texts(lines: list[Line]) -> list[str]:
    return ["".join(piece for _, piece in line) for line in lines]


def draft(text: str, receiver: UserId = BOB) -> Draft:
    return Draft(ChatId(f"id of {text}"), receiver, text)


def came(text: str, at: datetime = NOON) -> Chat:
    milliseconds = int(at.timestamp() * 1000)
    return Chat(ChatId(f"id of {text}"), BOB, UserId("me"), text, milliseconds, False)


@pytest.fixture
def transcript() -> Transcript:
    return Transcript(str, lambda: NOON)


def stored(transcript: Transcript, *drafts: Draft) -> list[str]:
    for each in drafts:
        transcript.wrote(each)
    return texts([line for each in drafts for line in transcript.stored(each)])


def test_the_mark_changes_until_the_receiver_has_it(transcript: Transcript) -> None:
    hi = draft("hi")
    transcript.wrote(hi)
    assert texts(transcript.open()) == ["12:00  …   → bob: hi"]

    assert transcript.stored(hi) == []
    assert texts(transcript.open()) == ["12:00  ✓   → bob: hi"]

    assert texts(transcript.delivered([hi.id])) == ["12:00  ✓✓  → bob: hi"]
    assert transcript.open() == transcript.rest() == []


def test_what_comes_stands_below_what_was_stored_before(transcript: Transcript) -> None:
    stored(transcript, draft("hi"))
    transcript.wrote(draft("waits"))

    assert texts(transcript.came(came("yo"))) == ["12:00  ✓   → bob: hi", "12:00      bob: yo"]
    assert texts(transcript.open()) == ["12:00  …   → bob: waits"]


def test_a_printed_message_is_told_of_again_when_it_is_received(transcript: Transcript) -> None:
    hi = draft("hi")
    stored(transcript, hi)
    transcript.came(came("yo"))

    assert texts(transcript.delivered([hi.id])) == ["       ✓✓  bob has received: hi"]
    assert transcript.delivered([hi.id, ChatId("unknown")]) == []


def test_order_is_kept_when_a_later_one_is_received_first(transcript: Transcript) -> None:
    to_carol, to_bob = draft("a", CAROL), draft("b")
    stored(transcript, to_carol, to_bob)

    assert texts(transcript.delivered([to_bob.id])) == [
        "12:00  ✓   → carol: a",
        "12:00  ✓✓  → bob: b",
    ]


def test_few_lines_are_open_at_a_time(transcript: Transcript) -> None:
    printed = stored(transcript, *(draft(str(number)) for number in range(7)))
    for number in range(7, 20):
        transcript.wrote(draft(str(number)))

    assert printed == ["12:00  ✓   → bob: 0", "12:00  ✓   → bob: 1"]
    assert texts(transcript.open()) == [
        *(f"12:00  ✓   → bob: {number}" for number in range(2, 7)),
        "12:00  …   → bob: 7",
        "           and 12 more that wait",
    ]
    assert len(transcript.rest()) == 18


def test_what_will_never_be_stored(transcript: Transcript) -> None:
    bad = draft("bad")
    transcript.wrote(bad)

    assert texts(transcript.failed(bad, Failure("message must be better", "bad_request"))) == [
        "12:00  ✗   → bob: bad",
        "           not sent: message must be better",
    ]
    assert transcript.open() == []


def test_several_lines_and_what_would_move_the_cursor(transcript: Transcript) -> None:
    assert texts(transcript.came(came("one\r\ntwo\x1b[2J"))) == [
        "12:00      bob: one",
        "           two␛[2J",
    ]


def test_another_day_is_named(transcript: Transcript) -> None:
    [line] = texts(transcript.came(came("old", NOON - timedelta(days=1))))

    assert line == "2026-02-28 12:00      bob: old"
