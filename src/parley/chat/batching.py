"""Group commit: whatever waits goes into one call.

One request to a database costs nearly as much as a hundred in one.  While a
call is under way, what is asked meanwhile gathers, and makes up the next one,
which begins before the callbacks of the last are called: the database is busy
while we are.  Nothing waits on purpose: under low load a batch holds one item.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Final, Generic, TypeAlias, TypeVar

from parley.chat.replies import internal, overloaded, store_unavailable
from parley.errors import ChatError, StoreUnavailable
from parley.incidents import fault

logger = logging.getLogger(__name__)

_SLICE: Final = 250
"""Callbacks called before others get their turn."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Done: TypeAlias = Callable[[Result | ChatError], None]
Batch: TypeAlias = list[tuple[Item, Done[Result]]]


class Batcher(Generic[Item, Result]):
    """Runs items through ``run`` in batches, one batch at a time, in the order submitted.

    ``run`` returns one result per item.  If it raises, the whole batch has
    failed, and with StoreUnavailable all that waits has too; what is submitted
    after that is tried all the same.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        max_batch: int,
        max_waiting: int,
        around: AbstractContextManager[None] | None = None,
    ) -> None:
        """``around`` is entered while the callbacks of a batch are called."""
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: Batch[Item, Result] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._submitted = 0
        self._done = 0
        self._batch_done: asyncio.Future[None] | None = None
        self._around = around or nullcontext()

    def __len__(self) -> int:
        """How many items wait, besides those under way."""
        return len(self._waiting)

    def submit(self, item: Item, done: Done[Result]) -> int:
        """Put an item into the next batch; ``done`` is called exactly once, in order.

        It is called with a result, or with the error for the client, and before
        this returns only if the item is refused.

        Returns how many items have been submitted so far, for :meth:`settled`.
        """
        if self._closed:
            done(store_unavailable())
        elif len(self._waiting) >= self._max_waiting:
            done(overloaded())
        else:
            self._submitted += 1
            self._waiting.append((item, done))
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._work())
        return self._submitted

    async def call(self, item: Item) -> Result:
        """As :meth:`submit`, for those who would rather wait.

        Raises:
            ChatError: as given to ``done``.
        """
        future: asyncio.Future[Result | ChatError] = asyncio.get_running_loop().create_future()
        self.submit(item, lambda result: None if future.done() else future.set_result(result))
        result = await future
        if isinstance(result, ChatError):
            raise result
        return result

    async def settled(self, mark: int) -> None:
        """Wait until the callbacks of the first ``mark`` items have been called."""
        while self._done < mark:
            if self._batch_done is None:
                self._batch_done = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._batch_done)

    async def close(self) -> None:
        """Finish what was submitted; later items are refused."""
        self._closed = True
        if self._task is not None:
            await asyncio.shield(self._task)  # who gives up waiting must not end it

    async def _work(self) -> None:
        while self._waiting:
            batch = self._take()
            results = await self._attempt(batch)
            while self._waiting:
                # The next one is under way while the callbacks of this one are called.
                following = self._take()
                attempt = asyncio.create_task(self._attempt(following))
                await asyncio.sleep(0)
                await self._tell(batch, results)
                batch, results = following, await attempt
            await self._tell(batch, results)
        self._task = None

    def _take(self) -> Batch[Item, Result]:
        batch = self._waiting[: self._max_batch]
        del self._waiting[: self._max_batch]
        return batch

    async def _attempt(self, batch: Batch[Item, Result]) -> Sequence[Result | ChatError]:
        """Run a batch.  If it's no use to run others now, they become part of it."""
        try:
            results = await self._run([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except StoreUnavailable:
            # What waits would fare the same, each batch after another long wait.
            batch += self._waiting
            self._waiting.clear()
            return [store_unavailable()] * len(batch)
        except Exception:
            fault(logger, "a batch failed")
            return [internal()] * len(batch)
        return results

    async def _tell(
        self, batch: Batch[Item, Result], results: Sequence[Result | ChatError]
    ) -> None:
        outcomes = zip(batch, results, strict=True)
        for start in range(0, len(batch), _SLICE):
            if start:
                await asyncio.sleep(0)
            with self._around:
                for (_, done), result in islice(outcomes, _SLICE):
                    try:
                        done(result)
                    except Exception:
                        fault(logger, "a callback failed")
        self._done += len(batch)
        if self._batch_done is not None:
            self._batch_done.set_result(None)
            self._batch_done = None
