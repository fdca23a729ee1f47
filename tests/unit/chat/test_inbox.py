"""The order of one user's pushes, whatever the bus does to them."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parley.chat.inbox import MAX_HELD, Inbox

from . import ALICE


def packet(seq: int) -> bytes:
    return b"%d" % seq


def packets(first: int, last: int) -> list[bytes]:
    return [packet(seq) for seq in range(first, last + 1)]


class Driven:
    """An inbox with a device, and a store that holds everything up to ``head``."""

    def __init__(self, position: int | None = 0) -> None:
        self.inbox = Inbox(ALICE)
        self.seen: list[bytes] = []
        if position is not None:
            self.inbox.start(position)

    def offer(self, *seqs: int) -> None:
        for seq in seqs:
            self.seen += self.inbox.offer(seq, packet(seq))

    def fill(self, head: int, page: int) -> None:
        """Read what is missing from the store, a page at a time."""
        while self.inbox.missing:
            assert self.inbox.position is not None
            first = self.inbox.position + 1
            assert first <= head, "something is missing that doesn't exist"
            self.offer(*range(first, min(first + page, head + 1)))


def test_the_next_one_is_pushed_at_once() -> None:
    driven = Driven()
    for seq in (1, 2, 3):
        driven.offer(seq)
        assert driven.seen == packets(1, seq)
        assert driven.inbox.position == seq
    assert not driven.inbox.missing


def test_one_pushed_before_is_dropped() -> None:
    driven = Driven()
    driven.offer(1, 1, 2, 1, 2)
    assert driven.seen == packets(1, 2)
    assert not driven.inbox.missing


def test_later_ones_wait_for_what_is_missing() -> None:
    driven = Driven()
    driven.offer(1, 4, 3, 4)
    assert (driven.seen, driven.inbox.missing) == (packets(1, 1), True)
    driven.offer(2)
    assert (driven.seen, driven.inbox.missing) == (packets(1, 4), False)
    driven.offer(5)
    assert (driven.seen, driven.inbox.missing) == (packets(1, 5), False)


def test_one_gap_behind_another() -> None:
    driven = Driven()
    driven.offer(2, 4, 6)
    driven.offer(1)
    assert (driven.seen, driven.inbox.missing) == (packets(1, 2), True)
    driven.offer(5, 3)
    assert (driven.seen, driven.inbox.missing) == (packets(1, 6), False)


def test_nothing_is_missing_before_it_is_known_where_to_begin() -> None:
    inbox = Inbox(ALICE)
    assert inbox.offer(7, packet(7)) == []
    assert inbox.position is None
    assert not inbox.missing


@pytest.mark.parametrize(
    ("heard", "ready", "position", "missing"),
    [
        ([], [], 5, False),
        ([3, 5], [], 5, False),
        ([6], [6], 6, False),
        ([7, 6, 5, 6], [6, 7], 7, False),
        ([8, 6], [6], 6, True),
        ([8], [], 5, True),
    ],
)
def test_start_with_things_heard_before(
    heard: list[int], ready: list[int], position: int, missing: bool
) -> None:
    inbox = Inbox(ALICE)
    for seq in heard:
        assert inbox.offer(seq, packet(seq)) == []
    assert inbox.start(5) == [packet(seq) for seq in ready]
    assert inbox.position == position
    assert inbox.missing is missing


def test_more_than_is_held_is_known_to_be_missing() -> None:
    driven = Driven()
    last = 3 * MAX_HELD
    driven.offer(*range(2, last + 1))
    driven.offer(1)
    assert (driven.seen, driven.inbox.missing) == (packets(1, MAX_HELD + 1), True)
    driven.fill(last, page=100)
    assert (driven.seen, driven.inbox.missing) == (packets(1, last), False)


def test_more_than_is_held_before_the_start() -> None:
    driven = Driven(position=None)
    last = 2 * MAX_HELD
    driven.offer(*range(1, last + 1))
    assert driven.inbox.start(last - 10) == []
    assert driven.inbox.missing
    driven.fill(last, page=100)
    assert driven.seen == packets(last - 9, last)


def test_what_was_pushed_takes_no_room_from_what_is_held() -> None:
    driven = Driven(position=None)
    driven.offer(*range(1, MAX_HELD + 1))
    assert driven.inbox.start(MAX_HELD) == []
    driven.offer(MAX_HELD + 2, MAX_HELD + 1)
    assert driven.seen == packets(MAX_HELD + 1, MAX_HELD + 2)


@settings(deadline=None)
@given(
    head=st.integers(0, 30),
    start=st.integers(0, 30),
    offers=st.lists(st.integers(1, 30), max_size=60),
    started_after=st.integers(0, 60),
    fills=st.sets(st.integers(0, 60)),
    page=st.integers(1, 10),
)
@example(head=3, start=0, offers=[3], started_after=1, fills={0}, page=1)
def test_whatever_arrives_is_seen_once_and_in_order(
    head: int,
    start: int,
    offers: list[int],
    started_after: int,
    fills: set[int],
    page: int,
) -> None:
    """Offers are lost, repeated and reordered; the store is read after some of them."""
    start = min(start, head)
    driven = Driven(position=None)
    for number, seq in enumerate([*offers, 0]):
        if number == min(started_after, len(offers)):
            driven.seen += driven.inbox.start(start)
        if 1 <= seq <= head:
            driven.offer(seq)
        if driven.inbox.position is not None and number in fills:
            driven.fill(head, page)
    assert driven.seen == packets(start + 1, start + len(driven.seen))
    assert driven.inbox.position == start + len(driven.seen)
    driven.fill(head, page)
    heard = max((seq for seq in offers if seq <= head), default=0)
    assert max(start, heard) <= driven.inbox.position <= head
    assert driven.seen == packets(start + 1, driven.inbox.position)


@settings(deadline=None, max_examples=10)
@given(st.randoms(use_true_random=False), st.integers(1, 200))
def test_many_more_than_are_held(chance: random.Random, page: int) -> None:
    """As above, with longer inboxes than hypothesis likes to draw."""
    driven = Driven()
    head = MAX_HELD * 2 + 50
    arriving = [seq for seq in range(1, head + 1) for _ in range(chance.choice((0, 1, 1, 2)))]
    for at in range(len(arriving)):
        other = min(len(arriving) - 1, at + chance.randrange(400))
        arriving[at], arriving[other] = arriving[other], arriving[at]
    for seq in [*arriving, head]:
        driven.offer(seq)
        if chance.random() < 0.01:
            driven.fill(head, page)
    driven.fill(head, page)
    assert driven.seen == packets(1, head)
