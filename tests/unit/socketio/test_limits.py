"""Token buckets, and the ledgers that hold them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.socketio.limits import Ledger, Rate, TokenBucket

RATE = Rate(per_second=10, burst=20)

rates = st.builds(Rate, st.integers(1, 10_000), st.integers(1, 10_000))
spending = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 1_000)), max_size=50)
"""Seconds of rest, and what is spent then."""


def test_a_burst_costs_no_time_and_more_does() -> None:
    bucket = TokenBucket(RATE, 100.0)

    assert bucket.spend(20, 100.0) == 0
    assert bucket.spend(5, 100.0) == 0.5
    assert bucket.spend(5, 100.0) == 1.0, "the debt grows"
    assert bucket.spend(10, 102.0) == 0


def test_a_rest_fills_it_to_the_brim_and_no_further() -> None:
    bucket = TokenBucket(RATE, 0.0)
    bucket.spend(20, 0.0)

    assert bucket.filled(1.0) == 0.5
    assert bucket.filled(1_000.0) == 1.0
    assert bucket.spend(21, 1_000.0) == 0.1


def test_what_can_not_be_afforded_is_not_spent() -> None:
    bucket = TokenBucket(RATE, 0.0)

    assert bucket.afford(20, 0.0) == 0
    assert [bucket.afford(1, 0.0) for _ in range(3)] == [0.1] * 3
    assert bucket.afford(1, 0.1) == 0


@given(rates, spending)
def test_who_waits_as_told_keeps_to_the_rate(rate: Rate, spending: list[tuple[float, int]]) -> None:
    """In every space of time, and not only from the start."""
    bucket, now = TokenBucket(rate, 0.0), 0.0
    spent: list[tuple[float, int]] = []
    for rest, amount in spending:
        now += rest
        spent.append((now, amount))
        now += bucket.spend(amount, now)
    largest = max((amount for _, amount in spent), default=0)
    for first in range(len(spent)):
        total = 0
        for at, amount in spent[first:]:
            total += amount
            bound = rate.burst + largest + rate.per_second * (at - spent[first][0])
            assert total <= bound * (1 + 1e-9)


@given(rates, st.lists(st.tuples(st.floats(0, 10), st.integers(1, 100), st.booleans())))
def test_sweeping_changes_nothing(rate: Rate, steps: list[tuple[float, int, bool]]) -> None:
    ledger, bucket, now = Ledger("any", rate), TokenBucket(rate, 0.0), 0.0
    for rest, amount, sweeps in steps:
        now += rest
        if sweeps:
            ledger.sweep(now)
        assert ledger.spend("somebody", amount, now) == bucket.spend(amount, now)


def test_everybody_has_a_bucket_of_their_own() -> None:
    ledger = Ledger("any", RATE)

    assert ledger.spend("ann", 25, 0.0) == 0.5
    assert ledger.spend("bob", 20, 0.0) == 0
    assert not ledger.eased("ann", 0.0)
    assert ledger.eased("ann", 1.5)
    assert ledger.eased("carol", 0.0)


def test_nobody_stays_who_spends_nothing() -> None:
    ledger = Ledger("any", RATE)
    for number in range(2_500):
        ledger.spend(f"user {number}", 10, 0.0)

    ledger.sweep(0.5)
    assert len(ledger) == 2_500
    for sweeps in range(4):
        assert len(ledger) == max(2_500 - 1_000 * sweeps, 0), "a part at a time"
        ledger.sweep(1.0)
    assert len(ledger) == 0


def test_sweeping_passes_over_those_who_keep_spending() -> None:
    ledger = Ledger("any", RATE)
    for number in range(1_000):
        ledger.spend(f"busy {number}", 100, 0.0)
    ledger.spend("quiet", 1, 0.0)

    ledger.sweep(1.0)
    ledger.sweep(1.0)

    assert len(ledger) == 1_000


def test_a_ledger_is_bounded() -> None:
    ledger = Ledger("any", RATE)
    for number in range(100_010):
        ledger.spend(str(number), 20, 0.0)

    assert len(ledger) == 100_000
    assert ledger.eased("9", 0.0), "the oldest went"
    assert not ledger.eased("10", 0.0)


@pytest.mark.parametrize(("burst", "portion"), [(1, 1), (15, 1), (20, 1), (160, 10), (10_000, 625)])
def test_portions_are_small_beside_a_burst(burst: int, portion: int) -> None:
    assert Ledger("any", Rate(1, burst)).portion == portion
