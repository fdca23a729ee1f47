"""The limits of one process on what its clients send: who pays for it, and who can't."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from parley.incidents import Incident, count, tell
from parley.socketio.deadlines import Deadline, Deadlines
from parley.socketio.limits import Ledger, Rate, RateLimits

logger = logging.getLogger(__name__)

UNLIMITED: Final = 1_000_000_000
"""Events or bytes that nobody gets to before paying again, where that costs nothing."""
_EVENTS: Final = 128
_BYTES: Final = 64 * 1024
"""Paid for at a time, at most: a client that leaves gets nothing back."""
_FREE_EVENTS: Final = 16
_FREE_BYTES: Final = 4 * 1024
"""Of each connection, at most: many send no more, and nobody need look at these."""
_PAUSE: Final = 0.02
"""Seconds that a pause is exact to."""
_SWEEP: Final = 1.0
"""Seconds between two sweeps."""
_REMIND: Final = 60.0
"""Seconds between two log lines on the same offender."""
_MOST_REPORTED: Final = 1_000
"""Offenders in as many seconds; those beyond are counted, and not logged."""


class Payer(Protocol):
    """What pays for its messages: a session."""

    sid: str
    account: str | None
    address: str | None
    allowance: int
    """Messages that are paid for."""
    credit: int
    """Bytes that are paid for; below 0 they have come before that."""


class Debt(NamedTuple):
    """A sender has spent more than it may."""

    limit: str
    """Which limit that was, for operators."""
    seconds: float
    """By then it will be paid for."""


_Names = tuple[str, str | None, str | None]


class _Purse:
    """One kind of what is spent, by connection, account and address."""

    def __init__(
        self, kind: str, most: int, connection: Rate, account: Rate, address: Rate
    ) -> None:
        """``most``: what is paid for at a time."""
        self._ledgers = tuple(
            Ledger(f"{scope}_{kind}", rate) if rate.per_second else None
            for scope, rate in (("connection", connection), ("user", account), ("address", address))
        )
        portions = [ledger.portion for ledger in self]
        self.portion = min([*portions, most]) if portions else UNLIMITED

    def __iter__(self) -> Iterator[Ledger]:
        return (ledger for ledger in self._ledgers if ledger is not None)

    def free(self, some: int) -> int:
        """What costs nothing: ``some``, or less where limits are low."""
        return self.portion if self.portion == UNLIMITED else min(some, self.portion)

    def spend(self, names: _Names, amount: int, now: float) -> Debt | None:
        """Have all of them pay; the longest debt that comes of it."""
        worst = None
        for ledger, name in zip(self._ledgers, names, strict=True):
            if ledger is not None and name is not None:
                seconds = ledger.spend(name, amount, now)
                if seconds and (worst is None or seconds > worst.seconds):
                    worst = Debt(ledger.limit, seconds)
        return worst

    def eased(self, names: _Names, now: float) -> bool:
        """True if all of them could spend a lot at once."""
        return all(
            ledger.eased(name, now)
            for ledger, name in zip(self._ledgers, names, strict=True)
            if ledger is not None and name is not None
        )


class Limiter:
    """Keeps the books.

    Messages and bytes are paid for in portions, some in advance, so that most
    messages cost no more than a number that goes down by one.
    """

    def __init__(self, limits: RateLimits, deadlines: Deadlines) -> None:
        self.limits = limits
        self.pauses = Deadlines(_PAUSE)
        """Of those who may not be read."""
        of, by, at = limits.connection, limits.account, limits.address
        self._events = _Purse("events", _EVENTS, of.events, by.events, at.events)
        self._bytes = _Purse("bytes", _BYTES, of.bytes, by.bytes, at.bytes)
        self._account_connects = Ledger("user_connects", limits.account_connects)
        self._address_connects = Ledger("address_connects", limits.address_connects)
        sending = (*self._events, *self._bytes)
        self._ledgers = (*sending, self._account_connects, self._address_connects)
        self.slowed = Counter({ledger.limit: 0 for ledger in sending})
        """Times that a client wasn't read for a while, by limit."""
        self.refused = Counter({ledger.limit: 0 for ledger in self._ledgers})
        """Messages and connections refused, by limit."""
        self._deadlines = deadlines
        self._sweeping = Deadline(self._sweep)
        self._reported: dict[str, float] = {}
        """When there was a log line on whom, the oldest first."""

    def sizes(self) -> dict[str, int]:
        """How much is in each internal table; nothing when nobody has sent anything for a while."""
        return {
            "rate_spenders": sum(map(len, self._ledgers)),
            "rate_offenders": len(self._reported),
            "rate_pauses": len(self.pauses),
        }

    @property
    def free_events(self) -> int:
        """Messages that a session may send before it has to pay."""
        return self._events.free(_FREE_EVENTS)

    @property
    def free_bytes(self) -> int:
        """Bytes, likewise."""
        return self._bytes.free(_FREE_BYTES)

    def pay_events(self, payer: Payer) -> Debt | None:
        """Pay for the next messages, which may be sent when the debt is paid, if there is one."""
        payer.allowance = self._events.portion
        return self._spend(self._events, payer, payer.allowance)

    def pay_bytes(self, payer: Payer) -> Debt | None:
        """Pay for bytes that have come, and for some that will."""
        amount = self._bytes.portion - payer.credit
        payer.credit = self._bytes.portion
        return self._spend(self._bytes, payer, amount)

    def eased(self, payer: Payer) -> bool:
        """True if it is far from all of its limits again."""
        now, names = _now(), _names(payer)
        return self._events.eased(names, now) and self._bytes.eased(names, now)

    def address(self, peer: str, headers: Mapping[str, str]) -> str | None:
        """The address that a request counts for; see :class:`~.addresses.Proxies`."""
        return self.limits.proxies.client(peer, headers)

    def admits(self, address: str | None) -> bool:
        """Whether one more session may begin from an address; it counts then."""
        return address is None or self._afford(self._address_connects, address)

    def admits_account(self, account: str) -> bool:
        """Whether one more client may join as an account; it counts then."""
        return self._afford(self._account_connects, account)

    def report(self, name: str, limit: str) -> None:
        """Log that something of somebody's is refused, unless that was done lately."""
        if name in self._reported or len(self._reported) >= _MOST_REPORTED:
            count(Incident.RATE_LIMITED)
            return
        self._reported[name] = _now()
        self._sweep_soon()
        text = f"{name} is over a limit, and refused for now"
        tell(logger, Incident.RATE_LIMITED, text, reason=limit, always=True, who=name)

    def close(self) -> None:
        """Forget who has to wait."""
        self.pauses.close()

    # -- within

    def _spend(self, purse: _Purse, payer: Payer, amount: int) -> Debt | None:
        self._sweep_soon()
        return purse.spend(_names(payer), amount, _now())

    def _afford(self, connects: Ledger, name: str) -> bool:
        if not connects.rate.per_second:
            return True
        self._sweep_soon()
        if not connects.afford(name, 1, _now()):
            return True
        self.refused[connects.limit] += 1
        self.report(name, connects.limit)
        return False

    def _sweep_soon(self) -> None:
        if self._sweeping.bucket is None:
            self._deadlines.arm(self._sweeping, _SWEEP)

    def _sweep(self) -> None:
        now = _now()
        for ledger in self._ledgers:
            ledger.sweep(now)
        while self._reported:
            name, at = next(iter(self._reported.items()))
            if now - at < _REMIND:
                break
            del self._reported[name]
        if self._reported or any(map(len, self._ledgers)):
            self._sweep_soon()


def _names(payer: Payer) -> _Names:
    return payer.sid, payer.account, payer.address


def _now() -> float:
    return asyncio.get_running_loop().time()
