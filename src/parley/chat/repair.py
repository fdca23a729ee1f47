"""Makes up for what the bus lost, from the store.

A push that is missed shows in two ways.  A later one arrives: then the gap is
filled after a moment.  Or nothing follows: so the positions of all inboxes
here are compared with the store's heads, a few seconds apart; faster while the
bus is away, and at once when it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from parley.chat.inbox import Inbox
from parley.chat.ports import Bus, Store
from parley.errors import StoreUnavailable
from parley.incidents import Incident, fault, tell
from parley.model import InboxEntry, UserId

logger = logging.getLogger(__name__)

GAP_WAIT: Final = 0.02
"""Seconds that a missing push is given to arrive late, before the store is asked."""
RETRY_WAIT: Final = 0.5
"""Seconds between attempts while the store is away, or doesn't show what was heard of."""
MAX_RETRIES: Final = 5
"""Attempts to find what the store doesn't show; then it is taken for a false report."""
AFTERMATH: Final = 5.0
"""Seconds after the bus is back for which inboxes are compared as if it were away: other nodes may
not have it back yet."""
_FILL_PAGE: Final = 200
_MAX_FILLS: Final = 8
"""Gaps that are filled at a time; the others wait."""
_COMPARE_PAGE: Final = 500


class Intervals(msgspec.Struct, frozen=True):
    """Seconds in which every inbox is compared with the store once."""

    connected: float = 5.0
    away: float = 1.0
    """While the bus is away."""


class Repair:
    """Fills the inboxes of one node up to what the store holds."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        inboxes: Mapping[UserId, Inbox],
        take: Callable[[Inbox, InboxEntry], None],
        intervals: Intervals,
    ) -> None:
        """``take`` is given the entries that were missing, in order, and perhaps known ones."""
        self._store = store
        self._bus = bus
        self._inboxes = inboxes
        self._take = take
        self._intervals = intervals
        self._gate = asyncio.Semaphore(_MAX_FILLS)
        self._hurry = asyncio.Event()
        self._settled_at = 0.0
        """When the bus can be relied on again, in the loop's time."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.gaps_filled = 0
        """Times that the store had to be read for pushes that did not arrive."""

    def start(self) -> None:
        """Begin to compare."""
        self._run(self._keep_comparing())

    async def close(self) -> None:
        """Stop everything under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def under_way(self) -> int:
        """Gaps being filled, and the one task that compares."""
        return len(self._tasks)

    def check(self, inbox: Inbox) -> None:
        """Fill the inbox if it is known to miss something."""
        if inbox.missing and not inbox.filling:
            inbox.filling = True
            self._run(self._fill(inbox))

    def compare_all(self) -> None:
        """Compare all inboxes with the store now: the bus was away, pushes may have been lost."""
        self._settled_at = asyncio.get_running_loop().time() + AFTERMATH
        self._hurry.set()

    async def read(self, inbox: Inbox) -> bool:
        """Read a page of what comes next in an inbox; False if the store has nothing.

        Raises:
            StoreUnavailable: the store doesn't answer.
        """
        assert inbox.position is not None
        async with self._gate:
            last = inbox.position
            entries = await self._store.entries(inbox.owner, last, _FILL_PAGE)
        for entry in entries:
            if entry.seq != last + 1:
                # Numbers have no gaps: what is missing here was deleted, and won't come.
                text = "a user's inbox has gaps in the store: run `parley audit`"
                tell(logger, Incident.INBOX_GAPPED, text, reason="messages were deleted")
                inbox.skip(entry.seq - 1)
            last = entry.seq
            self._take(inbox, entry)
        return bool(entries)

    # -- gaps

    async def _fill(self, inbox: Inbox) -> None:
        retries = 0
        try:
            await asyncio.sleep(GAP_WAIT)
            while inbox.missing and inbox.holders:
                try:
                    if await self.read(inbox):
                        self.gaps_filled += 1
                        text = "a push was missing and is read from the store"
                        tell(logger, Incident.GAP_FILLED, text, reason=self._why())
                        retries = 0
                        continue
                    retries += 1
                except StoreUnavailable:
                    pass  # it is told by the store
                except Exception:
                    fault(logger, "filling a gap failed")
                if retries > MAX_RETRIES:
                    text = "the bus told of a message that does not exist"
                    tell(logger, Incident.GAP_DISBELIEVED, text, reason="the store has none")
                    inbox.disbelieve()
                else:
                    await asyncio.sleep(RETRY_WAIT)
        finally:
            inbox.filling = False

    # -- heads

    async def _keep_comparing(self) -> None:
        while True:
            hurried = self._hurry.is_set()
            self._hurry.clear()
            owners = list(self._inboxes)
            pages = [
                owners[start : start + _COMPARE_PAGE]
                for start in range(0, len(owners), _COMPARE_PAGE)
            ]
            for page in pages:
                await self._compare(page)
                if not hurried:
                    await self._pause(1 / len(pages))
            if hurried or not pages:
                await self._pause(1)

    async def _pause(self, part: float) -> None:
        """Wait for a part of the interval, or until there is need to hurry."""
        intervals, time = self._intervals, asyncio.get_running_loop().time
        started = time()
        while not self._hurry.is_set():
            settled = self._bus.connected and time() >= self._settled_at
            seconds = intervals.connected if settled else intervals.away
            left = started + seconds * part - time()
            if left <= 0:
                return
            with suppress(TimeoutError):
                # The bus may go away meanwhile. Not wait_for, which may lose a cancellation.
                async with asyncio.timeout(min(left, intervals.away)):
                    await self._hurry.wait()

    async def _compare(self, owners: Sequence[UserId]) -> None:
        before = {owner: inbox.position for owner, inbox in self._of(owners)}
        try:
            heads = await self._store.heads(owners)
        except StoreUnavailable:
            return  # it is told by the store
        except Exception:
            fault(logger, "comparing inboxes failed")
            return
        for owner, inbox in self._of(owners):
            position = before.get(owner)
            if position is not None and heads[owner] < position == inbox.position:
                # What was pushed is no more: an older copy of the store has taken over.
                text = "the store has lost chats: a user's inbox ends before it did"
                lost = f"{position - heads[owner]} positions"
                tell(logger, Incident.INBOX_REWOUND, text, reason=lost)
                inbox.rewind(heads[owner])
            inbox.hear(heads[owner])
            self.check(inbox)

    def _of(self, owners: Sequence[UserId]) -> Iterator[tuple[UserId, Inbox]]:
        """Those who are still here."""
        for owner in owners:
            inbox = self._inboxes.get(owner)
            if inbox is not None:
                yield owner, inbox

    def _why(self) -> str:
        return "the bus lost it" if self._bus.connected else "the bus is away"

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
