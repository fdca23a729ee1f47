"""A store whose failures and delays are counted and told, whoever asked it."""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Final, TypeVar

from parley.answer import Answer
from parley.chat.ports import Committed, NewChat, Page, Receipt, Store
from parley.errors import StoreUnavailable
from parley.incidents import Incident, tell
from parley.model import ChatId, InboxEntry, UserId

T = TypeVar("T")

logger = logging.getLogger(__name__)

OPERATIONS: Final = (
    "commit",
    "heads",
    "entries",
    "unreceived",
    "received_by",
    "position",
    "delivered",
    "ping",
)
"""The store's methods, but for ``close``."""
SECONDS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2, 10)


class Durations:
    """How long the calls of one method took."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        """Calls whose seconds are at most those of each of ``SECONDS``, and above the last."""
        self.sum = 0.0
        """Seconds."""

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds


class WatchedStore:
    """Passes everything on; implements :class:`parley.chat.ports.Store` as the real one does."""

    def __init__(self, real: Store) -> None:
        self._real = real
        self.failures: Counter[str] = Counter()
        """Calls that raised StoreUnavailable, by method."""
        self.durations = {operation: Durations() for operation in OPERATIONS}
        """Of all calls, those that failed too."""
        self.under_way = 0
        """Calls that have not returned."""

    def commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Answer[Committed]:
        call = self._watched("commit")
        watched: Answer[Committed] = Answer()
        try:
            answer = self._real.commit(chats, receipts)
        except BaseException as exc:
            call.end(exc)
            raise
        answer.then(partial(call.pass_on, watched))
        return watched

    async def heads(self, owners: Sequence[UserId]) -> Mapping[UserId, int]:
        with self._watched("heads"):
            return await self._real.heads(owners)

    async def entries(self, owner: UserId, after: int, limit: int) -> list[InboxEntry]:
        with self._watched("entries"):
            return await self._real.entries(owner, after, limit)

    async def unreceived(self, owner: UserId, page: Page) -> list[InboxEntry]:
        with self._watched("unreceived"):
            return await self._real.unreceived(owner, page)

    async def received_by(self, owner: UserId, page: Page) -> list[InboxEntry]:
        with self._watched("received_by"):
            return await self._real.received_by(owner, page)

    async def position(self, owner: UserId, chat_id: ChatId) -> int | None:
        with self._watched("position"):
            return await self._real.position(owner, chat_id)

    async def delivered(
        self, sender: UserId, receiver: UserId, chat_ids: Sequence[ChatId]
    ) -> set[ChatId]:
        with self._watched("delivered"):
            return await self._real.delivered(sender, receiver, chat_ids)

    async def ping(self) -> None:
        with self._watched("ping"):
            await self._real.ping()

    async def close(self) -> None:
        await self._real.close()

    def _watched(self, operation: str) -> _Call:
        return _Call(self, operation)


class _Call:
    """One call that is under way.  No generator, which would take three times as long."""

    __slots__ = ("_began", "_operation", "_store")

    def __init__(self, store: WatchedStore, operation: str) -> None:
        self._store = store
        self._operation = operation
        store.under_way += 1
        self._began = time.perf_counter()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(exc)

    def pass_on(self, watched: Answer[T], answer: Answer[T]) -> None:
        """The call has been answered."""
        self.end(answer.error)
        answer.pass_to(watched)

    def end(self, exc: BaseException | None) -> None:
        """It has returned, or raised."""
        store, operation = self._store, self._operation
        store.under_way -= 1
        store.durations[operation].add(time.perf_counter() - self._began)
        if isinstance(exc, StoreUnavailable):
            store.failures[operation] += 1
            text, told = "the store did not answer", Incident.STORE_FAILED
            tell(logger, told, text, reason=exc, subject=operation, operation=operation)
