"""Acknowledgements that the server waits for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias

from parley.incidents import fault
from parley.socketio.deadlines import Deadline, Deadlines

logger = logging.getLogger(__name__)


class AckTimeout(Exception):
    """The client did not acknowledge in time, or its connection ended, here at least."""


AckCallback: TypeAlias = Callable[[list[Any] | AckTimeout], object]


class Acks:
    """One socket's."""

    __slots__ = ("_deadlines", "_waiting", "last")

    def __init__(self, deadlines: Deadlines, last: int = 0) -> None:
        self.last = last
        """The id that was given last."""
        self._deadlines = deadlines
        self._waiting: dict[int, tuple[AckCallback, Deadline]] = {}

    def __len__(self) -> int:
        """How many are being waited for."""
        return len(self._waiting)

    def __contains__(self, ack_id: int) -> bool:
        return ack_id in self._waiting

    def next_id(self) -> int:
        """The id for the next one."""
        self.last += 1
        return self.last

    def wait(self, ack_id: int, callback: AckCallback, timeout: float) -> None:
        """Call ``callback`` with the answer, or with an AckTimeout after ``timeout`` seconds."""
        timed_out = AckTimeout("no acknowledgement in time")
        deadline = Deadline(lambda: self.settle(ack_id, timed_out))
        self._waiting[ack_id] = (callback, deadline)
        self._deadlines.arm(deadline, timeout)

    def settle(self, ack_id: int, answer: list[Any] | AckTimeout) -> None:
        """An acknowledgement came, or will not come any more."""
        callback, deadline = self._waiting.pop(ack_id, (None, None))
        if callback is not None and deadline is not None:
            self._deadlines.cancel(deadline)
            call_back(callback, answer)

    def expire(self) -> None:
        """None will come any more."""
        for ack_id in list(self._waiting):
            self.settle(ack_id, AckTimeout("the client has gone"))


def call_back(callback: AckCallback, answer: list[Any] | AckTimeout) -> None:
    """Pass on what came of an acknowledgement, whatever the application does with it."""
    try:
        callback(answer)
    except Exception:
        fault(logger, "the callback of an acknowledgement failed")
