"""Group commit: order, batches, bounds, failures, and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.answer import Answer, answer_of
from parley.chat.batching import Batcher, LoopTurn
from parley.errors import ChatError, ErrorCode, StoreUnavailable

from . import PATIENCE, settle


class Runner:
    """What a batcher runs: it doubles numbers, when it is let."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.errors: dict[int, Exception] = {}
        """A batch that holds one of these fails."""
        self.free = asyncio.Event()
        self.free.set()
        self.under_way = 0

    def begin(self, items: Sequence[int]) -> Answer[Sequence[int]]:
        return answer_of(self.run(items))

    async def run(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        self.under_way += 1
        assert self.under_way == 1, "two batches at a time"
        try:
            await self.free.wait()
            await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        for item in items:
            if item in self.errors:
                raise self.errors[item]
        return [2 * item for item in items]


class Asker:
    """Submits numbers, and keeps the outcomes in the order in which they came."""

    def __init__(
        self, runner: Runner | None = None, max_batch: int = 3, max_waiting: int = 100
    ) -> None:
        self.runner = runner or Runner()
        self.batcher = Batcher(self.runner.begin, max_batch=max_batch, max_waiting=max_waiting)
        self.outcomes: list[tuple[int, int | ErrorCode]] = []
        self.mark = 0

    def submit(self, *items: int) -> None:
        for item in items:
            self.mark = self.batcher.submit(item, partial(self.done, item))

    def done(self, item: int, outcome: int | ChatError) -> None:
        self.outcomes.append((item, outcome.code if isinstance(outcome, ChatError) else outcome))


async def test_one_item_at_a_time_makes_batches_of_one() -> None:
    asker = Asker()
    for item in (1, 2, 3):
        assert await asyncio.wait_for(asker.batcher.call(item), PATIENCE) == 2 * item
    assert asker.runner.batches == [[1], [2], [3]]


async def test_what_comes_while_one_is_under_way_makes_up_the_next() -> None:
    asker = Asker()
    asker.runner.free.clear()
    asker.submit(1)
    await settle()
    asker.submit(2, 3)
    assert len(asker.batcher) == 2
    asker.submit(4, 5)
    assert asker.outcomes == []
    asker.runner.free.set()
    await settle(20)
    assert asker.runner.batches == [[1], [2, 3, 4], [5]]
    assert asker.outcomes == [(item, 2 * item) for item in (1, 2, 3, 4, 5)]
    assert len(asker.batcher) == 0


async def test_nothing_is_called_before_submit_returns() -> None:
    asker = Asker()
    asker.submit(1, 2)
    assert asker.outcomes == []
    assert asker.runner.batches == []
    await settle()
    assert asker.runner.batches == [[1, 2]]


async def test_more_than_may_wait_is_refused_at_once() -> None:
    asker = Asker(max_waiting=2)
    asker.runner.free.clear()
    asker.submit(1)
    await settle()
    asker.submit(2, 3, 4)
    assert asker.outcomes == [(4, ErrorCode.OVERLOADED)]
    with pytest.raises(ChatError) as caught:
        await asker.batcher.call(5)
    assert caught.value.code is ErrorCode.OVERLOADED
    assert caught.value.retryable
    asker.runner.free.set()
    await settle(20)
    asker.submit(6)
    await settle()
    assert asker.outcomes == [(4, ErrorCode.OVERLOADED), (1, 2), (2, 4), (3, 6), (6, 12)]


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (StoreUnavailable("secret detail"), ErrorCode.STORE_UNAVAILABLE, True),
        (RuntimeError("secret detail"), ErrorCode.INTERNAL, False),
        (ChatError(ErrorCode.NOT_FOUND, "secret detail"), ErrorCode.INTERNAL, False),
    ],
)
async def test_a_batch_that_fails_fails_as_a_whole_and_alone(
    error: Exception, code: ErrorCode, retryable: bool
) -> None:
    asker = Asker()
    asker.runner.errors[2] = error
    asker.submit(1, 2, 3, 4)
    with pytest.raises(ChatError) as caught:
        await asyncio.wait_for(asker.batcher.call(2), PATIENCE)
    assert caught.value.retryable is retryable
    assert "secret" not in caught.value.message
    asker.submit(5)
    await settle()
    # 2 came again in the batch of 4.
    assert asker.outcomes == [(1, code), (2, code), (3, code), (4, code), (5, 10)]


async def test_callbacks_that_raise_do_not_stop_others(caplog: pytest.LogCaptureFixture) -> None:
    asker = Asker()

    def fail(outcome: int | ChatError) -> None:
        asker.done(0, outcome)
        raise RuntimeError("on purpose")

    asker.submit(1)
    asker.batcher.submit(2, fail)
    asker.submit(3, 4)
    await settle(20)
    assert asker.outcomes == [(1, 2), (0, 4), (3, 6), (4, 8)]
    (record,) = caplog.records
    assert record.exc_info is not None


async def test_callbacks_may_submit() -> None:
    asker = Asker()

    def again(outcome: int | ChatError) -> None:
        asker.done(1, outcome)
        asker.submit(2)

    asker.batcher.submit(1, again)
    await settle(20)
    assert asker.outcomes == [(1, 2), (2, 4)]
    assert asker.runner.batches == [[1], [2]]


async def test_who_stops_waiting_does_not_stop_the_others() -> None:
    asker = Asker()
    asker.runner.free.clear()
    impatient = asyncio.create_task(asker.batcher.call(1))
    patient = asyncio.create_task(asker.batcher.call(2))
    await settle()
    impatient.cancel()
    asker.runner.free.set()
    assert await asyncio.wait_for(patient, PATIENCE) == 4
    assert impatient.cancelled()
    assert asker.runner.batches == [[1, 2]]


async def test_callbacks_of_a_batch_are_called_within_one_context() -> None:
    events: list[object] = []

    class Turn(LoopTurn):
        """Entered once a batch, as Engine.batch is."""

        def __enter__(self) -> None:
            events.append("begin")

        def __exit__(self, *exc: object) -> None:
            events.append("end")

    runner = Runner()
    batcher = Batcher(runner.begin, max_batch=2, max_waiting=10, turn=Turn())
    for item in (1, 2, 3):
        batcher.submit(item, events.append)
    await settle(20)
    assert events == ["begin", 2, 4, "end", "begin", 6, "end"]


async def test_a_batch_begins_at_the_end_of_the_turn() -> None:
    class Turn(LoopTurn):
        """Flushes when the test says so."""

        def add(self, writer: Batcher[Any, Any]) -> None:
            writers.append(writer)

    writers: list[Batcher[Any, Any]] = []
    runner = Runner()
    batcher = Batcher(runner.begin, max_batch=2, max_waiting=10, turn=Turn())
    for item in (1, 2, 3):
        batcher.submit(item, lambda outcome: None)
    await settle()
    assert runner.batches == []
    [writer] = writers
    writer.flush()
    await asyncio.wait_for(batcher.settled(3), PATIENCE)
    assert runner.batches == [[1, 2], [3]]
    assert writers == [writer]


@pytest.mark.parametrize(("pushes", "most"), [(1, 250), (100, 50), (1_000, 10), (50_000, 10)])
async def test_callbacks_that_cause_much_give_others_their_turn(pushes: int, most: int) -> None:
    """However few they are."""
    turns: list[int] = []

    class Turn(LoopTurn):
        """Entered once a turn."""

        def __enter__(self) -> None:
            turns.append(0)

        def __exit__(self, *exc: object) -> None:
            pass

    def done(outcome: int | ChatError) -> None:
        turns[-1] += 1

    batcher = Batcher(
        Runner().begin,
        max_batch=1_000,
        max_waiting=1_000,
        turn=Turn(),
        caused=lambda: pushes * sum(turns),
    )
    for item in range(1_000):
        batcher.submit(item, done)
    await asyncio.wait_for(batcher.close(), PATIENCE)
    assert sum(turns) == 1_000
    assert max(turns) == most


async def test_settled_when_all_that_was_submitted_before_is_done() -> None:
    asker = Asker()
    await asyncio.wait_for(asker.batcher.settled(asker.mark), PATIENCE)
    asker.runner.free.clear()
    asker.submit(1, 2, 3, 4, 5)
    waiting = [asyncio.create_task(asker.batcher.settled(asker.mark)) for _ in range(3)]
    await settle()
    waiting.pop().cancel()
    asker.submit(6)
    assert not any(task.done() for task in waiting)
    asker.runner.free.set()
    await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
    assert [item for item, _ in asker.outcomes[:5]] == [1, 2, 3, 4, 5]


async def test_settled_though_a_batch_has_failed_and_items_were_refused() -> None:
    asker = Asker(max_batch=1, max_waiting=2)
    asker.runner.errors[1] = StoreUnavailable("on purpose")
    asker.submit(1, 2, 3, 4)
    await asyncio.wait_for(asker.batcher.settled(asker.mark), PATIENCE)
    assert [item for item, _ in asker.outcomes] == [3, 4, 1, 2]


async def test_while_the_store_is_away_nothing_waits_for_it_in_vain() -> None:
    asker = Asker(max_batch=2)
    asker.runner.errors[1] = StoreUnavailable("on purpose")
    asker.submit(1, 2, 3, 4, 5)
    await asyncio.wait_for(asker.batcher.settled(asker.mark), PATIENCE)
    away = ErrorCode.STORE_UNAVAILABLE
    assert asker.outcomes == [(item, away) for item in (1, 2, 3, 4, 5)]
    assert asker.runner.batches == [[1, 2]]
    assert await asyncio.wait_for(asker.batcher.call(6), PATIENCE) == 12


async def test_settled_does_not_wait_for_what_is_submitted_later() -> None:
    asker = Asker(max_batch=1)
    asker.submit(1)
    settled = asyncio.create_task(asker.batcher.settled(asker.mark))

    def again(outcome: int | ChatError) -> None:
        if not settled.done():
            asker.batcher.submit(2, again)

    asker.batcher.submit(2, again)
    await asyncio.wait_for(settled, PATIENCE)
    assert asker.outcomes == [(1, 2)]


# The end


async def test_close_finishes_what_was_accepted_and_refuses_more() -> None:
    asker = Asker()
    asker.runner.free.clear()
    asker.submit(1)
    await settle()
    asker.submit(2, 3, 4, 5)
    closing = asyncio.create_task(asker.batcher.close())
    await settle()
    asker.submit(6)
    assert asker.outcomes == [(6, ErrorCode.STORE_UNAVAILABLE)]
    assert not closing.done()
    asker.runner.free.set()
    await asyncio.wait_for(closing, PATIENCE)
    assert asker.outcomes[1:] == [(item, 2 * item) for item in (1, 2, 3, 4, 5)]
    with pytest.raises(ChatError) as caught:
        await asker.batcher.call(7)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert caught.value.retryable


async def test_close_may_be_called_at_any_time_and_again() -> None:
    asker = Asker()
    await asker.batcher.close()
    await asker.batcher.close()
    other = Asker()
    other.submit(1)
    await asyncio.wait_for(asyncio.gather(other.batcher.close(), other.batcher.close()), PATIENCE)
    assert other.outcomes == [(1, 2)]


async def test_who_gives_up_closing_does_not_lose_what_was_accepted() -> None:
    asker = Asker()
    asker.runner.free.clear()
    asker.submit(1, 2, 3, 4)
    closing = asyncio.create_task(asker.batcher.close())
    await settle()
    closing.cancel()
    await settle()
    asker.runner.free.set()
    await settle(20)
    assert asker.outcomes == [(1, 2), (2, 4), (3, 6), (4, 8)]


async def test_a_wrong_number_of_results_fails_the_batch_alone() -> None:
    batches: list[list[int]] = []

    def run(items: Sequence[int]) -> Answer[Sequence[int]]:
        batches.append(list(items))
        answer: Answer[Sequence[int]] = Answer()
        answer.set([2 * item for item in items if item != 1])
        return answer

    outcomes: list[object] = []
    batcher = Batcher(run, max_batch=1, max_waiting=10)
    for item in (1, 2):
        batcher.submit(item, outcomes.append)
    await settle(20)
    assert batches == [[1], [2]]
    assert len(outcomes) == 2


# Anything at all


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 6), st.booleans()), max_size=12),
    st.integers(1, 5),
    st.integers(1, 10),
)
def test_each_is_called_once_and_in_order(
    bursts: list[tuple[int, int, bool]], max_batch: int, max_waiting: int
) -> None:
    """Bursts of submits with pauses between; some batches fail."""

    async def play() -> None:
        asker = Asker(max_batch=max_batch, max_waiting=max_waiting)
        number = 0
        for size, pause, fails in bursts:
            for _ in range(size):
                number += 1
                if fails:
                    asker.runner.errors[number] = RuntimeError("on purpose")
                asker.submit(number)
            await settle(pause)
        await asyncio.wait_for(asker.batcher.close(), PATIENCE)

        assert sorted(item for item, _ in asker.outcomes) == list(range(1, number + 1))
        refused = {item for item, it in asker.outcomes if it is ErrorCode.OVERLOADED}
        taken = [item for item in range(1, number + 1) if item not in refused]
        assert [item for item, _ in asker.outcomes if item not in refused] == taken
        assert [item for batch in asker.runner.batches for item in batch] == taken
        assert all(len(batch) <= max_batch for batch in asker.runner.batches)
        failed = {
            item
            for batch in asker.runner.batches
            if asker.runner.errors.keys() & batch
            for item in batch
        }
        for item, outcome in asker.outcomes:
            if item not in refused:
                assert outcome == (ErrorCode.INTERNAL if item in failed else 2 * item)

    asyncio.run(play())
