"""Many deadlines on one timer.

Every connection has a heartbeat and some further deadlines.  A timer of the
event loop for each would cost more than the connection itself; here they
share buckets of time, and the loop is woken once per bucket in use.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable

from parley.incidents import fault

logger = logging.getLogger(__name__)

STALLED_AFTER = 0.5
"""Seconds of lateness after which the loop is taken to have been stopped."""
_READ_FIRST = 0.001


class Timed(ABC):
    """Something that is due at a time.  Arm it with :meth:`Deadlines.arm`.

    What every connection has derives from it, because a :class:`Deadline`
    with a callback would take more memory.
    """

    __slots__ = ("bucket",)

    def __init__(self) -> None:
        self.bucket: Bucket | None = None
        """Where it waits; None if it isn't armed."""

    @abstractmethod
    def due(self) -> object:
        """The time has come."""


class Deadline(Timed):
    """Has something done at a time."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        super().__init__()
        self._callback = callback

    def due(self) -> object:
        return self._callback()


class Bucket:
    """What is due at the same tick."""

    __slots__ = ("tick", "waiting")

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.waiting: dict[Timed, None] = {}


class Deadlines:
    """Has things done at their deadlines.

    A deadline is met within ``resolution`` seconds of its time, mostly before
    it, unless the loop is late.  If the whole process was stopped for a while (suspended, paged
    out), the loop gets to read what arrived meanwhile before deadlines that
    passed during the stop are acted on: a client that did answer in time is
    not punished for our absence.
    """

    def __init__(self, resolution: float) -> None:
        self.resolution = resolution
        """Seconds."""
        self.late = 0.0
        """By how many seconds the callback that is running is late; negative if it is early."""
        self._buckets: dict[int, Bucket] = {}
        self._ticks: list[int] = []  # a heap; each tick is in it once while its bucket exists
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0
        self._caught_up = False

    def __len__(self) -> int:
        return sum(len(bucket.waiting) for bucket in self._buckets.values())

    def arm(self, timed: Timed, seconds: float) -> None:
        """Call ``timed.due`` in ``seconds``; an earlier arming is forgotten."""
        self.cancel(timed)
        loop = asyncio.get_running_loop()
        now = loop.time()
        tick = max(int((now + seconds) / self.resolution), int(now / self.resolution) + 1)
        bucket = self._buckets.get(tick)
        if bucket is None:
            bucket = self._buckets[tick] = Bucket(tick)
            heapq.heappush(self._ticks, tick)
            if self._timer is None or tick < self._timer_tick:
                self._wake_at(tick, loop)
        bucket.waiting[timed] = None
        timed.bucket = bucket

    def cancel(self, timed: Timed) -> None:
        """Forget the deadline; harmless if it isn't armed."""
        bucket, timed.bucket = timed.bucket, None
        if bucket is not None:
            bucket.waiting.pop(timed, None)

    def close(self) -> None:
        """Forget every deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._buckets.clear()
        self._ticks.clear()

    def _wake_at(self, tick: int, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = tick
        self._timer = loop.call_at(tick * self.resolution, self._fire)

    def _fire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = now - self._timer_tick * self.resolution
        if late > STALLED_AFTER and not self._caught_up:
            self._caught_up = True
            self._timer = loop.call_later(_READ_FIRST, self._fire)
            return
        self._caught_up = False
        self._timer = None
        while self._ticks and self._ticks[0] * self.resolution <= now:
            bucket = self._buckets.pop(heapq.heappop(self._ticks))
            waiting, bucket.waiting = bucket.waiting, {}
            for timed in waiting:
                # An earlier one of this bucket may have cancelled or re-armed it.
                if timed.bucket is bucket:
                    self.late = now - bucket.tick * self.resolution
                    timed.bucket = None
                    self._run(timed)
        if self._ticks:
            self._wake_at(self._ticks[0], loop)

    def _run(self, timed: Timed) -> None:
        try:
            timed.due()
        except Exception:
            fault(logger, "a deadline's callback failed")
