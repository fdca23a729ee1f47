"""What the store doesn't do is counted and told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from parley import incidents
from parley.answer import Answer
from parley.chat.ports import Committed, NewChat, Page, Receipt
from parley.chat.watched import OPERATIONS, WatchedStore
from parley.errors import StoreUnavailable
from parley.incidents import FIELDS, Incident

from . import ALICE, BOB, FaultyStore, faulty_store, new_chat


@pytest.fixture
async def faulty(tmp_path: Path) -> AsyncIterator[FaultyStore]:
    async with faulty_store(tmp_path) as store:
        yield store


async def use_all(store: WatchedStore) -> int:
    """Call each method once; how many of the calls were answered."""
    chat = new_chat(BOB)
    calls = (
        lambda: store.commit([chat], []),
        lambda: store.heads([BOB]),
        lambda: store.entries(BOB, 0, 10),
        lambda: store.unreceived(BOB, Page(10)),
        lambda: store.received_by(BOB, Page(10)),
        lambda: store.position(BOB, chat.id),
        lambda: store.delivered(ALICE, BOB, [chat.id]),
        store.ping,
    )
    answered = 0
    for call in calls:
        try:
            await call()
        except StoreUnavailable:
            continue
        answered += 1
    return answered


async def test_all_is_passed_on_and_measured(faulty: FaultyStore) -> None:
    store = WatchedStore(faulty)
    assert await use_all(store) == len(OPERATIONS)
    assert faulty.calls == dict.fromkeys(OPERATIONS, 1)
    assert all(sum(each.counts) == 1 for each in store.durations.values())
    assert not store.failures
    assert store.under_way == 0


async def test_each_failure_is_counted_and_told(
    faulty: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    store = WatchedStore(faulty)
    faulty.away = True
    for _ in range(2):
        assert await use_all(store) == 0
    assert store.failures == dict.fromkeys(OPERATIONS, 2)
    assert incidents.totals()[Incident.STORE_FAILED] == 2 * len(OPERATIONS)
    told = [getattr(record, FIELDS) for record in caplog.records]
    assert [each["operation"] for each in told] == list(OPERATIONS)
    assert {each["reason"] for each in told} == {"it is away"}
    assert store.under_way == 0


class Refusing(FaultyStore):
    """Raises before there is anything to wait for, as stores do that are used wrongly."""

    def commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Answer[Committed]:
        raise RuntimeError("commits must not be concurrent")


async def test_a_call_that_raises_at_once_is_over(faulty: FaultyStore) -> None:
    store = WatchedStore(Refusing(faulty.real))
    with pytest.raises(RuntimeError, match="concurrent"):
        store.commit([new_chat(BOB)], [])
    assert store.under_way == 0
    assert sum(store.durations["commit"].counts) == 1
    assert not store.failures


async def test_close_closes(faulty: FaultyStore) -> None:
    await WatchedStore(faulty).close()
    with pytest.raises(StoreUnavailable):
        await faulty.real.ping()
