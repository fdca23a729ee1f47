"""What a process grants connections before it knows what they are for.

A connection *waits* while the head of its next request isn't complete: because
it has said nothing yet, because its head comes slowly, or between two requests.
Such connections are cheap to make, and nothing is lost with them.
"""

from __future__ import annotations

import enum
import logging
import os
from abc import abstractmethod
from collections import Counter
from typing import Final

import msgspec

from parley.incidents import Incident, tell
from parley.socketio.deadlines import Deadlines, Timed

logger = logging.getLogger(__name__)

_MOST_WAITING: Final = 4096
"""As many as the kernel's queue of new connections holds: a burst of clients that all mean it may
be accepted as a whole before the first of them is read."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Of HTTP, before a request reaches the application.  Times in seconds, sizes in bytes."""

    max_head: int = 32 * 1024
    """Of a request's line and headers; also of its trailers, and of what frames its body."""
    max_headers: int = 100
    max_pipelined: int = 16
    """Requests that one connection may send before they are answered, besides the first."""
    max_waiting: int = _MOST_WAITING
    """Connections that wait; above that, the one that has waited longest is closed."""
    head_timeout: float = 15.0
    """From the first byte of a head to its last; and from a connection to its first byte."""
    body_timeout: float = 40.0
    """For the rest of a request."""
    keep_alive: float = 75.0
    """For the next request.  Longer than load balancers keep their side, so that they are the
    ones to close."""
    read_timeout: float = 45.0
    """In which a client must read something of an answer that is ready; as long as a heartbeat."""
    linger: float = 1.0
    """In which the rest of a request that was refused is read and dropped, so that its client
    gets to see the answer."""


class Refusal(enum.StrEnum):
    """Why a connection was closed, or a request refused, before the application saw it."""

    CROWDED = "crowded"
    """It had waited longest when there were too many."""
    SILENT = "silent"
    """Nothing came."""
    HEAD_TIMEOUT = "head timeout"
    HEAD_TOO_LARGE = "head too large"
    BODY_TIMEOUT = "body timeout"
    BODY_UNREAD = "body unread"
    """Its request was answered, and it went on sending it."""
    MALFORMED = "malformed"
    PIPELINE = "too many pipelined requests"
    UNREAD = "answer not read"


class Waiting(Timed):
    """A connection that may have to wait.  It is due when it has done so for too long."""

    __slots__ = ()

    @abstractmethod
    def turn_away(self) -> None:
        """Close it at once: its place is needed."""


class Door:
    """All connections of a process that wait, and what was refused."""

    def __init__(self, bounds: Bounds, deadlines: Deadlines) -> None:
        self.bounds = bounds
        self.deadlines = deadlines
        self.refused: Counter[Refusal] = Counter()
        self._waiting: dict[Waiting, None] = {}

    @property
    def waiting(self) -> int:
        """How many there are."""
        return len(self._waiting)

    def wait(self, connection: Waiting, seconds: float) -> None:
        """It waits from now on; the one that has waited longest may have to go for it."""
        self._waiting[connection] = None
        self.deadlines.arm(connection, seconds)
        if len(self._waiting) > self.bounds.max_waiting:
            oldest = next(iter(self._waiting))
            self.leave(oldest)
            self.refuse(Refusal.CROWDED)
            oldest.turn_away()

    def leave(self, connection: Waiting) -> None:
        """It doesn't wait any more.  Idempotent."""
        self._waiting.pop(connection, None)
        self.deadlines.cancel(connection)

    def refuse(self, reason: Refusal) -> None:
        """Count it, and tell."""
        self.refused[reason] += 1
        text = "a connection was refused"
        tell(logger, Incident.STRANGER_REFUSED, text, reason=reason.value, subject=reason.value)


def room_to_wait() -> int:
    """A sane ``max_waiting``: half of the files that this process may open, if those are few."""
    if os.name == "nt":
        return _MOST_WAITING
    import resource  # noqa: PLC0415 - where there is one

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_WAITING if files == resource.RLIM_INFINITY else min(_MOST_WAITING, files // 2)
