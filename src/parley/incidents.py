"""What goes wrong, or nearly so: each kind has a counter and a log line, both from here.

Whoever drops, retries, refuses or gives up something tells it by :func:`tell`, with the reason.
It is counted each time.  The line holds ``kind``, ``reason`` and what else is known as fields of
their own; of the same kind and subject there is at most one in :data:`PAUSE` seconds, and it
says how many were left out before it.  Events that are no incident have a line only.
"""

from __future__ import annotations

import enum
import logging
import sys
import time
from collections import Counter, OrderedDict
from typing import Final

PAUSE: Final = 60.0
"""Seconds between two lines of the same kind and subject."""
MAX_SUBJECTS: Final = 256
"""Subjects whose last line is remembered; of the one told longest ago a line may come early."""
FIELDS: Final = "fields"
"""The attribute of a log record that holds its fields."""


class Incident(enum.StrEnum):
    """The kinds; their names are the label of ``parley_incidents_total``."""

    BACKEND_AWAITED = "backend_awaited"
    """At the start: PostgreSQL or Redis is not there yet."""
    BUS_DROPPED = "bus_dropped"
    """A push to other nodes was not carried."""
    BUS_LOST = "bus_lost"
    """Redis went away: pushes to other nodes are late."""
    BUS_MALFORMED = "bus_malformed"
    """Something on Redis' channels that is not Parley's."""
    BUS_REFUSED = "bus_refused"
    """Redis refused a command of the bus."""
    BUS_REPAIR_FAILED = "bus_repair_failed"
    """Redis is still away, or does not take us."""
    CALL_FAILED = "call_failed"
    """Another node did not answer what it was asked."""
    CERTIFICATE_REFUSED = "certificate_refused"
    """The renewed certificate can't be used; the old one still is."""
    CLIENT_CUT = "client_cut"
    """A session was ended by the server; the reason says why."""
    COMMIT_RETRIED = "commit_retried"
    """The database undid a commit for the sake of others, or an id existed; it is tried again."""
    CONNECT_REFUSED = "connect_refused"
    """A client may not connect, or can't now; the reason is a code."""
    EVENT_REFUSED = "event_refused"
    """A client was answered with an ``error``; the reason is its code."""
    FAULT = "fault"
    """Something that must not happen, also in a library: please report it."""
    GAP_DISBELIEVED = "gap_disbelieved"
    """The bus told of a message that the store doesn't have."""
    GAP_FILLED = "gap_filled"
    """A push did not arrive, and was read from the store."""
    INBOX_GAPPED = "inbox_gapped"
    """Messages were deleted from the store: they are missing for good."""
    INBOX_REWOUND = "inbox_rewound"
    """The store has lost messages that had been pushed."""
    KEY_IGNORED = "key_ignored"
    """``JWT_JWKS_URL`` has a key that can't be used."""
    KEYS_AWAY = "keys_away"
    """``JWT_JWKS_URL`` did not give its keys; those from before count."""
    LINK_LOST = "link_lost"
    """A link between two nodes ended."""
    LINK_REFUSED = "link_refused"
    """Somebody at the nodes' port is no node of ours, or breaks the rules."""
    METRICS_MISSING = "metrics_missing"
    """A worker's metrics are not shown."""
    MOVE_FAILED = "move_failed"
    """A polling session could not be taken over from another process."""
    NODE_UNKNOWN = "node_unknown"
    """Redis can't be told that this node lives, or what it keeps of others can't be read."""
    NODE_UNREACHABLE = "node_unreachable"
    """There is no link to another node."""
    RATE_LIMITED = "rate_limited"
    """A client sends or connects more than it may, and is refused; the reason is the limit."""
    REQUEST_REFUSED = "request_refused"
    """An HTTP request or a WebSocket handshake was refused; the reason is the status."""
    REVOCATIONS_LOST = "revocations_lost"
    """The store has lost who was kicked: look whether somebody has to be kicked again."""
    SCHEMA_AWAITED = "schema_awaited"
    """At the start: the tables of an older version are being changed."""
    STOP_CUT_SHORT = "stop_cut_short"
    """When it stopped, something was unfinished at the end of the grace."""
    STORE_FAILED = "store_failed"
    """The database did not do what it was asked; clients may try again."""
    STORE_RECONNECTED = "store_reconnected"
    """The connection for commits was lost and is made anew."""
    STRANGER_REFUSED = "stranger_refused"
    """A connection was closed, or a request refused, before it was looked at."""
    WORKER_ENDED = "worker_ended"
    """A worker ended by itself.  Its supervisor tells, which has no metrics."""


_ERRORS: Final = frozenset(
    {
        Incident.CERTIFICATE_REFUSED,
        Incident.FAULT,
        Incident.INBOX_GAPPED,
        Incident.INBOX_REWOUND,
        Incident.REVOCATIONS_LOST,
        Incident.WORKER_ENDED,
    }
)
_EVERYDAY: Final = frozenset(
    {
        Incident.CLIENT_CUT,
        Incident.CONNECT_REFUSED,
        Incident.EVENT_REFUSED,
        Incident.GAP_FILLED,
        Incident.REQUEST_REFUSED,
        Incident.SCHEMA_AWAITED,
        Incident.STRANGER_REFUSED,
    }
)
"""A client's own doing, or repaired without anybody's noticing."""


def level_of(incident: Incident) -> int:
    """The level of its log lines."""
    if incident in _ERRORS:
        return logging.ERROR
    return logging.INFO if incident in _EVERYDAY else logging.WARNING


class _Told:
    """When there was a line, and what was left out since; of one process."""

    def __init__(self) -> None:
        self.totals: Counter[Incident] = Counter()
        self._last: OrderedDict[tuple[Incident, str], tuple[float, int]] = OrderedDict()

    def due(self, incident: Incident, subject: str, always: bool) -> int | None:
        """How many lines were left out since the last; None if there should be none now."""
        now, key = time.monotonic(), (incident, subject)
        last, untold = self._last.get(key, (-PAUSE, 0))
        if now - last < PAUSE and not always:
            self._last[key] = (last, untold + 1)
            return None
        self._last[key] = (now, 0)
        self._last.move_to_end(key)
        if len(self._last) > MAX_SUBJECTS:
            self._last.popitem(last=False)
        return untold

    def clear(self) -> None:
        self.totals.clear()
        self._last.clear()


_told = _Told()


def tell(
    logger: logging.Logger,
    incident: Incident,
    text: str,
    *,
    reason: object,
    subject: str = "",
    always: bool = False,
    **more: object,
) -> None:
    """Count an incident, and have a line of log about it.

    ``text`` is for people.  ``subject`` is what the lines are limited by besides the kind, one of
    few values; ``always`` is for what is limited otherwise.  ``more`` are further fields; nothing
    private may be among them.
    """
    _told.totals[incident] += 1
    untold = _told.due(incident, subject, always)
    if untold is None:
        return
    fields = {"kind": incident.value, "reason": str(reason), **more}
    if untold:
        fields["untold"] = untold
    logger.log(level_of(incident), "%s: %s", text, reason, extra={FIELDS: fields})


def count(incident: Incident) -> None:
    """Count one whose line is limited otherwise, and not due."""
    _told.totals[incident] += 1


def fault(logger: logging.Logger, text: str, error: BaseException | None = None) -> None:
    """Tell, every time, of something that must not happen; by default what is being handled."""
    error = error or sys.exception()
    _told.totals[Incident.FAULT] += 1
    fields = {"kind": Incident.FAULT.value, "reason": type(error).__name__}
    logger.error(text, exc_info=error, extra={FIELDS: fields})


def totals() -> dict[Incident, int]:
    """How often each kind has happened in this process; 0 for those that never have."""
    return {incident: _told.totals[incident] for incident in Incident}


def forget() -> None:
    """Begin anew, as a process does."""
    _told.clear()
