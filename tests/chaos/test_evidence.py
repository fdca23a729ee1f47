"""Each way to break a promise is noticed."""

from __future__ import annotations

import pytest

from .evidence import Entry, Message, Record, Seen, check_device, check_store

ANN, BOB = "ann", "bob"


def chat(number: int) -> dict[str, str]:
    return {"id": f"id {number}", "sender": ANN, "message": f"text {number}"}


def entry(number: int, seq: int) -> Entry:
    return Entry(seq, f"id {number}", ANN, f"text {number}")


def sent(*numbers: int, surely: bool = True) -> Record:
    """Messages that were sent in this order, and acknowledged."""
    tried = [Message(f"text {number}", 1) for number in numbers]
    return Record(ANN, BOB, surely, tried, [chat(number) for number in numbers])


def stored(*numbers: int) -> list[Entry]:
    """An inbox with these, in this order."""
    return [entry(number, seq) for seq, number in enumerate(numbers, 1)]


INBOX = stored(1, 2, 3, 4)


def test_what_is_as_it_was_sent_is_well() -> None:
    check_store([sent(1, 2, 3, 4)], {BOB: INBOX})


def test_what_was_not_acknowledged_may_be_stored_or_not() -> None:
    record = sent(1, 2, 3, 4, surely=False)
    record.acknowledged = [chat(1)]
    check_store([record], {BOB: stored(1, 3)})


def test_there_is_no_order_between_connections_if_nobody_waits() -> None:
    record = sent(1, 2, surely=False)
    record.tried[1] = record.tried[1]._replace(connection=2)
    check_store([record], {BOB: stored(2, 1)})


FLAWS: dict[str, tuple[Record, list[Entry], str]] = {
    "lost": (sent(1, 2, 3), stored(1, 3), "acknowledged, and not stored"),
    "doubled": (sent(1, 2), [*stored(1, 2), Entry(3, "id 9", ANN, "text 2")], "more than once"),
    "reordered": (sent(1, 2, 3), stored(1, 3, 2), "not in the order"),
    "reordered in haste": (sent(1, 2, surely=False), stored(2, 1), "not in the order"),
    "invented": (sent(1, 2), stored(1, 2, 3), "never sent"),
    "from another": (sent(1), [Entry(1, "id 1", "carol", "text 1")], "never sent"),
    "with another id": (sent(1), [Entry(1, "id 2", ANN, "text 1")], "as another chat"),
    "with a gap": (sent(1, 2), [entry(1, 1), entry(2, 3)], "has gaps"),
    "given up": (
        Record(ANN, BOB, True, [Message("text 1", 1)], []),
        stored(1),
        "not all was acknowledged",
    ),
}


@pytest.mark.parametrize(("record", "inbox", "complaint"), FLAWS.values(), ids=FLAWS)
def test_a_flaw_of_the_store_is_noticed(record: Record, inbox: list[Entry], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_store([record], {BOB: inbox})


def seen(*connections: list[int], known: tuple[int, ...] = (1, 2, 3, 4)) -> Seen:
    live = [[f"id {number}" for number in numbers] for numbers in connections]
    return Seen(live, {f"id {number}" for number in known}, undisturbed=len(connections) == 1)


GOOD: dict[str, Seen] = {
    "it stayed connected": seen([1, 2, 3, 4]),
    "it was away for a while": seen([1, 2], [4]),
    "it came back when all was over": seen([1, 2], []),
    "it overlaps": seen([1, 2], [2, 3, 4]),
}


@pytest.mark.parametrize("device", GOOD.values(), ids=GOOD)
def test_a_device_that_was_shown_all_is_well(device: Seen) -> None:
    check_device(device, INBOX)


BAD: dict[str, tuple[Seen, str]] = {
    "twice": (seen([1, 2, 2, 3, 4]), "not once and in order"),
    "never": (seen([1, 2, 4]), "not once and in order"),
    "never on one of its connections": (seen([1], [2, 4]), "not once and in order"),
    "not in order": (seen([1, 3, 2, 4]), "not once and in order"),
    "not the first": (seen([2, 3, 4]), "not all of it was live"),
    "not the last": (seen([1, 2, 3]), "not all of it was live"),
    "not the last after it came back": (seen([1], [3]), "the last ones weren't live"),
    "one that it does not know": (seen([1], [4], known=(1, 3, 4)), "other chats"),
    "one that is not stored": (seen([1, 2, 3, 4], known=(1, 2, 3, 4, 5)), "other chats"),
}


@pytest.mark.parametrize(("device", "complaint"), BAD.values(), ids=BAD)
def test_a_flaw_of_what_was_shown_is_noticed(device: Seen, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_device(device, INBOX)
