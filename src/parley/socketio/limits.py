"""How much may be sent: token buckets, and who has spent what.  Sans-I/O.

A bucket holds what may be spent at once, and fills at a steady rate.  ``now``
is always in seconds of one clock that doesn't go back.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import msgspec

from parley.socketio.addresses import Proxies

_PORTIONS: Final = 16
"""A burst is paid for in so many portions at least."""
_MOST_NAMES: Final = 100_000
"""In one ledger; more can only come of an attack, by the addresses of a botnet."""
_SWEPT: Final = 1_000
"""Names looked at by one sweep, which others have to wait for."""


class Rate(msgspec.Struct, frozen=True):
    """So much in the long run, and so much at once."""

    per_second: float = 0
    """0: no limit."""
    burst: float = 1
    """What may be spent at once after a rest; at least 1."""


class Rates(msgspec.Struct, frozen=True):
    """What one sender may send."""

    events: Rate = Rate()
    bytes: Rate = Rate()


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What clients may send to one process."""

    connection: Rates = Rates()
    account: Rates = Rates()
    """All connections of an account together; see :attr:`Session.account`."""
    address: Rates = Rates()
    """All connections from an address together; see :mod:`.addresses`."""
    account_connects: Rate = Rate()
    """Joins of an account's clients."""
    address_connects: Rate = Rate()
    """Sessions that an address may begin."""
    patience: float = 5.0
    """Seconds for which a client that sends too much isn't read, before it is told so; and that
    it may go on then before it is disconnected."""
    proxies: Proxies = Proxies()


class TokenBucket:
    """What one sender may still spend; full at first."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        """``rate`` is one with a limit."""
        self._rate = rate
        self._tokens = rate.burst
        self._at = now

    def spend(self, amount: float, now: float) -> float:
        """Spend in any case; the seconds until that is paid for, 0 if it is.

        Whoever waits for these spends at most ``burst`` and one ``amount``
        more than ``per_second`` times the seconds, in any space of time.
        """
        self._tokens = left = self._left(now) - amount
        self._at = now
        return 0.0 if left >= 0 else -left / self._rate.per_second

    def afford(self, amount: float, now: float) -> float:
        """Spend if there is enough, and return 0; else the seconds until there will be."""
        lacking = amount - self._left(now)
        if lacking > 0:
            return lacking / self._rate.per_second
        self.spend(amount, now)
        return 0.0

    def filled(self, now: float) -> float:
        """How full it is: 1 is to the brim, below 0 is debt."""
        return self._left(now) / self._rate.burst

    def _left(self, now: float) -> float:
        rate = self._rate
        return min(rate.burst, self._tokens + (now - self._at) * rate.per_second)


class Ledger:
    """What everybody has spent under one limit, by name.

    Who has spent nothing lately has no entry after some sweeps: a new one
    would be as full.
    """

    def __init__(self, limit: str, rate: Rate) -> None:
        self.limit = limit
        """Its name, for operators."""
        self.rate = rate
        self._buckets: dict[str, TokenBucket] = {}
        self.portion = max(1, int(rate.burst / _PORTIONS))
        """The most that should be paid for at a time."""

    def __len__(self) -> int:
        """How many have an entry."""
        return len(self._buckets)

    def spend(self, name: str, amount: float, now: float) -> float:
        """As :meth:`TokenBucket.spend`."""
        return self._bucket(name, now).spend(amount, now)

    def afford(self, name: str, amount: float, now: float) -> float:
        """As :meth:`TokenBucket.afford`."""
        return self._bucket(name, now).afford(amount, now)

    def eased(self, name: str, now: float) -> bool:
        """True for those who could spend half of a burst at once."""
        bucket = self._buckets.get(name)
        return bucket is None or bucket.filled(now) >= 0.5

    def sweep(self, now: float) -> None:
        """Forget those who have spent nothing lately; looks at a part of them, in turn."""
        for name in list(islice(self._buckets, _SWEPT)):
            bucket = self._buckets.pop(name)
            if bucket.filled(now) < 1:
                self._buckets[name] = bucket

    def _bucket(self, name: str, now: float) -> TokenBucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= _MOST_NAMES:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[name] = TokenBucket(self.rate, now)
        return bucket
