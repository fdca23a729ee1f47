"""Deadlines: on real loops with tiny resolutions, and to the tick in virtual time."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.socketio.deadlines import STALLED_AFTER, Deadline, Deadlines

from . import PATIENCE, in_virtual_time

TINY = 0.002
COARSE = 0.05
"""So long that several deadlines fall into one bucket."""


def arm_together(deadlines: Deadlines, *together: Deadline) -> None:
    """Arm all for the same moment; should a tick end meanwhile, once more."""
    while together[0].bucket is None or len({deadline.bucket for deadline in together}) > 1:
        for deadline in together:
            deadlines.arm(deadline, 0)


async def test_run_in_order_of_time_whatever_the_order_of_arming() -> None:
    deadlines, ran, done = Deadlines(TINY), list[int](), asyncio.Event()
    for number in (3, 1, 4, 0, 2):
        deadlines.arm(Deadline(partial(ran.append, number)), number * 0.02)
    deadlines.arm(Deadline(done.set), 0.12)
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert ran == [0, 1, 2, 3, 4]
    assert len(deadlines) == 0


async def test_a_cancelled_one_does_not_run() -> None:
    deadlines, ran, done = Deadlines(TINY), list[str](), asyncio.Event()
    cancelled = Deadline(lambda: ran.append("cancelled"))
    deadlines.arm(cancelled, 0.01)
    deadlines.arm(Deadline(done.set), 0.03)
    assert len(deadlines) == 2
    deadlines.cancel(cancelled)
    deadlines.cancel(cancelled)
    deadlines.cancel(Deadline(done.set))
    assert len(deadlines) == 1
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert ran == []
    assert len(deadlines) == 0


async def test_arming_again_forgets_the_earlier_time() -> None:
    deadlines, ran, done = Deadlines(TINY), list[str](), asyncio.Event()
    put_off = Deadline(lambda: ran.append("put off"))
    deadlines.arm(put_off, 0.01)
    deadlines.arm(put_off, 0.05)
    deadlines.arm(Deadline(lambda: ran.append("meanwhile")), 0.03)
    deadlines.arm(Deadline(done.set), 0.08)
    assert len(deadlines) == 3
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert ran == ["meanwhile", "put off"]


async def test_a_sooner_one_need_not_wait_for_the_first() -> None:
    deadlines, done = Deadlines(TINY), asyncio.Event()
    deadlines.arm(Deadline(lambda: None), 1000)
    deadlines.arm(Deadline(done.set), 0.01)
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert len(deadlines) == 1


async def test_a_deadline_may_arm_itself_again() -> None:
    deadlines, runs, done = Deadlines(TINY), list[int](), asyncio.Event()

    def beat() -> None:
        runs.append(len(runs))
        if len(runs) < 5:
            deadlines.arm(heart, 0)
        else:
            done.set()

    heart = Deadline(beat)
    deadlines.arm(heart, 0)
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert runs == [0, 1, 2, 3, 4]
    assert len(deadlines) == 0


async def test_callbacks_may_cancel_and_rearm_others_of_their_bucket() -> None:
    deadlines, ran, done = Deadlines(COARSE), list[str](), asyncio.Event()

    def first() -> None:
        ran.append("first")
        deadlines.cancel(cancelled)
        deadlines.arm(put_off, 0)
        deadlines.arm(Deadline(done.set), 0)

    def last() -> None:
        ran.append("last")
        deadlines.cancel(run)  # it has run; that must not matter

    run = Deadline(first)
    cancelled = Deadline(lambda: ran.append("cancelled"))
    put_off = Deadline(lambda: ran.append("put off"))
    arm_together(deadlines, run, cancelled, put_off, Deadline(last))
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert ran == ["first", "last", "put off"]
    assert len(deadlines) == 0


async def test_those_of_one_moment_run_in_the_order_of_their_arming() -> None:
    deadlines, ran, done = Deadlines(COARSE), list[int](), asyncio.Event()
    numbered = [Deadline(partial(ran.append, number)) for number in range(10)]
    arm_together(deadlines, *numbered, Deadline(done.set))
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert ran == list(range(10))


async def test_a_failing_callback_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    deadlines, done = Deadlines(COARSE), asyncio.Event()

    def fail() -> None:
        raise RuntimeError("on purpose")

    arm_together(deadlines, Deadline(fail), Deadline(done.set))
    await asyncio.wait_for(done.wait(), PATIENCE)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def test_close_forgets_everything() -> None:
    deadlines, ran = Deadlines(TINY), list[str]()
    armed = Deadline(lambda: ran.append("armed"))
    deadlines.arm(armed, 0.01)
    deadlines.close()
    assert len(deadlines) == 0
    deadlines.cancel(armed)
    await asyncio.sleep(0.03)
    assert ran == []


def loops() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    if sys.platform == "win32":  # uvloop has no Windows version
        return [asyncio.new_event_loop]
    import uvloop  # noqa: PLC0415

    return [asyncio.SelectorEventLoop, uvloop.new_event_loop]


@pytest.mark.parametrize("new_loop", loops(), ids=lambda new_loop: new_loop.__module__)
def test_after_a_stall_what_arrived_is_read_before_deadlines_are_acted_on(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """uvloop runs timers after it has read, and the stall may come between the two."""

    async def stall() -> list[str]:
        loop = asyncio.get_running_loop()
        deadlines, ran, done = Deadlines(TINY), list[str](), asyncio.Event()
        ours, theirs = socket.socketpair()
        busy, trigger = socket.socketpair()

        def read() -> None:
            ran.append(f"read {ours.recv(100).decode()}")
            deadlines.arm(timeout, 1000)
            deadlines.arm(Deadline(done.set), 0.01)

        def stop_the_loop() -> None:
            busy.recv(100)
            theirs.send(b"pong")  # the client does answer, but we are not there
            time.sleep(STALLED_AFTER + 0.2)

        timeout = Deadline(lambda: ran.append("timed out"))
        with ours, theirs, busy, trigger:
            loop.add_reader(ours, read)
            loop.add_reader(busy, stop_the_loop)
            deadlines.arm(timeout, 0.01)
            trigger.send(b"now")
            await asyncio.wait_for(done.wait(), PATIENCE)
            loop.remove_reader(ours)
            loop.remove_reader(busy)
        deadlines.close()
        return ran

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(stall()) == ["read pong"]


@pytest.mark.parametrize("new_loop", loops(), ids=lambda new_loop: new_loop.__module__)
def test_after_a_stall_deadlines_are_acted_on_all_the_same(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def stall() -> None:
        deadlines, done = Deadlines(TINY), asyncio.Event()
        deadlines.arm(Deadline(done.set), 0.01)
        asyncio.get_running_loop().call_soon(time.sleep, STALLED_AFTER + 0.2)
        await asyncio.wait_for(done.wait(), PATIENCE)
        assert len(deadlines) == 0

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(stall())


RESOLUTION = 0.25
ROUNDING = 1e-6
steps = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.none() | st.floats(0, 3, allow_nan=False),
        st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(steps)
def test_each_is_met_at_most_a_resolution_early_and_never_late(
    steps: list[tuple[int, float | None, float]],
) -> None:
    """Each step arms one of five for a time from now, or cancels it, then lets time pass.

    What is armed for less than a resolution may be late: it waits for the next tick.
    """

    async def run() -> list[tuple[float, float]]:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(RESOLUTION)
        due: dict[int, tuple[float, float]] = {}
        met: list[tuple[float, float]] = []

        def ring(number: int) -> None:
            time_due, seconds = due.pop(number)
            met.append((time_due - loop.time(), seconds))

        numbered = [Deadline(partial(ring, number)) for number in range(5)]
        for number, seconds, pause in steps:
            if seconds is None:
                deadlines.cancel(numbered[number])
                due.pop(number, None)
            else:
                deadlines.arm(numbered[number], seconds)
                due[number] = loop.time() + seconds, seconds
            assert len(deadlines) == len(due)
            await asyncio.sleep(pause)
        await asyncio.sleep(4)
        assert due == {}
        assert len(deadlines) == 0
        return met

    for early, seconds in in_virtual_time(run()):
        assert early <= RESOLUTION + ROUNDING
        assert early >= (-ROUNDING if seconds >= RESOLUTION else -RESOLUTION - ROUNDING)
