"""What happens to a client that sends too much: it waits, then it is told, then it must go."""

from __future__ import annotations

import asyncio
from math import ceil
from typing import Final, Protocol

from parley.socketio.deadlines import Timed
from parley.socketio.limiter import UNLIMITED, Debt, Limiter, Payer

_SHORTEST: Final = 1.0
"""Seconds that a client is told to wait at least: more than what it has sent meanwhile takes."""
_MOST_REFUSED: Final = 2_000
"""Messages; what was on its way when the client was told is some hundreds."""


class Client(Payer, Protocol):
    """The session that is throttled."""

    throttle: Throttle | None

    @property
    def engine(self) -> Host:
        """Whose limits it has."""

    @property
    def name(self) -> str:
        """For the log."""

    def pause(self) -> None:
        """Have it read no more."""

    def resume(self) -> None:
        """Have it read again, unless something else stands against that."""


class Host(Protocol):
    """The engine."""

    @property
    def limiter(self) -> Limiter:
        """Who is paid."""


class Throttle(Timed):
    """One client's.  It is due when the client may be read again.

    A client that is told to wait is let in again once it has kept silent for
    the second half of that time at least.  So whatever it sent before it knew
    has been refused by then, and what it sends again comes in order.
    """

    __slots__ = (
        "_client",
        "_held",
        "_limit",
        "_limiter",
        "_refused",
        "_told_at",
        "_until",
        "_wait",
    )

    def __init__(self, client: Client, limiter: Limiter) -> None:
        super().__init__()
        self._client = client
        self._limiter = limiter
        self._held = 0.0
        """Seconds for which it was not read, without a break."""
        self._limit = ""
        self._wait = 0.0
        """Seconds that it is told to wait; 0 while it isn't told."""
        self._told_at = 0.0
        self._until = 0.0
        self._refused = 0

    @property
    def holds(self) -> bool:
        """True while the client must not be read."""
        return self.bucket is not None

    @property
    def refuses(self) -> bool:
        """True while what comes is to be refused."""
        return self._wait > 0

    @property
    def over(self) -> bool:
        """True while it neither holds nor refuses."""
        return not self.holds and not self.refuses

    def meet(self, debt: Debt) -> None:
        """The client has sent more than is paid for: let it wait, or refuse what comes."""
        limiter = self._limiter
        patience = limiter.limits.patience
        if not self.refuses and self._held + debt.seconds > patience:
            self._limit = debt.limit
            self._wait = max(_SHORTEST, debt.seconds)
            self._told_at = _now()
            self._until = self._told_at + self._wait
            self._refused = 0
            limiter.report(self._client.name, debt.limit)
            return
        self._held += debt.seconds
        limiter.slowed[debt.limit] += 1
        limiter.pauses.arm(self, min(debt.seconds, patience))

    def refuse(self) -> int | None:
        """A message came while messages are refused.

        Returns the milliseconds that its sender has to wait; 0 if it has
        waited, and the message may be taken; None if it doesn't listen.
        """
        now = _now()
        if now >= self._until:
            self._wait = self._held = 0.0
            return 0
        self._limiter.refused[self._limit] += 1
        self._refused += 1
        going_on = now - self._told_at - self._wait
        if self._refused > _MOST_REFUSED or going_on > self._limiter.limits.patience:
            return None
        if self._until - now < self._wait / 2:
            self._until = now + self._wait
        # The same for all, so that those who wait for it send again in the order of before.
        return ceil(self._wait * 1000)

    def due(self) -> None:
        self._client.resume()


def settle(client: Client, debt: Debt | None) -> None:
    """Do what follows from having paid."""
    throttle, limiter = client.throttle, client.engine.limiter
    if debt is None:
        if throttle is not None and throttle.over and limiter.eased(client):
            client.throttle = None
        return
    if throttle is None:
        throttle = client.throttle = Throttle(client, limiter)
    throttle.meet(debt)
    if throttle.refuses:
        client.allowance = 0
    if throttle.holds:
        client.pause()


def lift(client: Client) -> None:
    """Let pass what has been read, which is little; there is no time to wait with it.

    What is refused still is: it must not be overtaken.
    """
    throttle = client.throttle
    if throttle is not None and throttle.refuses:
        return
    client.allowance = client.credit = UNLIMITED
    if throttle is not None:
        client.engine.limiter.pauses.cancel(throttle)
        client.throttle = None
        client.resume()


def _now() -> float:
    return asyncio.get_running_loop().time()
