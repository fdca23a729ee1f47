"""Which tokens `parley kick` has made worthless.

The store holds them.  A node keeps those that count in memory, so that a
connect costs no query, and looks for changes every second; or at once, when
the bus says that there are some.  What Redis loses costs a second, and nothing
more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from parley.chat.ports import Bus, Clock, Revocation, RevocationStore
from parley.errors import StoreUnavailable
from parley.incidents import Incident, fault, tell
from parley.model import UserId

logger = logging.getLogger(__name__)

LOOK_EVERY: Final = 1.0
"""Seconds between two looks for changes."""
_SPACING: Final = 0.05
"""Seconds between two looks, at least, whatever the bus says."""
_OPERATION: Final = "revocations"
"""As the store's failures are told."""
_PAGE: Final = 500


class Revocations:
    """What one node knows of revocations."""

    def __init__(
        self, store: RevocationStore, bus: Bus, clock: Clock, every: float = LOOK_EVERY
    ) -> None:
        """``every``: seconds between two looks that the bus doesn't ask for."""
        self._store = store
        self._clock = clock
        self._every = every
        self._by_user: dict[UserId, Revocation] = {}
        """Those that count, and some that have ended."""
        self._version = 0
        """What was seen last."""
        self._loaded = False
        """All of them have been seen."""
        self._on_revoked: Callable[[AbstractSet[UserId]], None] = _nobody_cares
        self._hurry = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        bus.on_revocations(self._hurry.set)

    def __len__(self) -> int:
        """How many are known."""
        return len(self._by_user)

    def find(self, user: UserId, issued_at: float | None) -> Revocation | None:
        """What makes a token of ``user`` worthless that was issued then, or nobody knows when.

        ``issued_at``: seconds since the Unix epoch.
        """
        revocation = self._by_user.get(user)
        if revocation is None or revocation.until <= self._clock.now() * 1000:
            return None
        late_enough = issued_at is not None and issued_at * 1000 >= revocation.issued_before
        return None if late_enough else revocation

    async def start(self, on_revoked: Callable[[AbstractSet[UserId]], None]) -> None:
        """Look for the first time, and begin to look by itself.

        ``on_revoked`` is told of whose tokens some have become worthless.  While the store is away
        it is not known which have; then it is asked again and again.
        """
        self._on_revoked = on_revoked
        await self._look()
        self._tasks.append(asyncio.create_task(self._keep_looking()))

    async def close(self) -> None:
        """Stop.  Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- within

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_SPACING)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._hurry.wait()
            self._hurry.clear()
            await self._look()

    async def _look(self) -> None:
        try:
            newest = await self._store.newest()
            if newest < self._version:
                # An older copy of the store has taken over; what was known is kept.
                text = "kicked users may have been let in again"
                why = "the store has lost revocations"
                tell(logger, Incident.REVOCATIONS_LOST, text, reason=why)
                self._loaded = False
            if not self._loaded:
                await self._load(newest)
            elif newest > self._version:
                await self._read(until_after=-1)
        except StoreUnavailable as exc:
            text = "the store does not tell which tokens are revoked"
            tell(
                logger,
                Incident.STORE_FAILED,
                text,
                reason=exc,
                subject=_OPERATION,
                operation=_OPERATION,
            )
        except Exception:
            fault(logger, "looking for revoked tokens failed")

    async def _load(self, newest: int) -> None:
        """Read those that count, and not those that have ended: these may be many."""
        self._version = 0
        await self._read(until_after=self._now())
        self._version = max(self._version, newest)
        self._loaded = True

    async def _read(self, until_after: int) -> None:
        """Take changes over, page by page."""
        while page := await self._store.changes(self._version, until_after, _PAGE):
            self._version = page[-1].version
            self._take(page)

    def _take(self, page: Sequence[Revocation]) -> None:
        now = self._now()
        self._by_user.update({each.user: each for each in page})
        self._by_user = {user: each for user, each in self._by_user.items() if each.until > now}
        revoked = {each.user for each in page} & self._by_user.keys()
        if revoked:
            logger.info("tokens were revoked; users: %d", len(revoked))
            self._on_revoked(revoked)

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def _nobody_cares(users: AbstractSet[UserId]) -> None:
    """Before :meth:`Revocations.start`."""
