"""Group commit: whatever waits goes into one call.

One request to a database costs nearly as much as a hundred in one.  While a
call is under way, what is asked meanwhile gathers, and makes up the next one,
which begins before the callbacks of the last are called: the database is busy
while we are.  Nothing waits on purpose: under low load a batch holds one item,
and begins as soon as what arrived with it has been read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from parley.answer import Answer
from parley.chat.replies import internal, overloaded, store_unavailable
from parley.errors import ChatError, StoreUnavailable
from parley.incidents import fault

logger = logging.getLogger(__name__)

_SLICE: Final = 250
"""Callbacks called before others get their turn."""
_UNTOLD: Final = 2
"""Batches whose callbacks are still to be called when no more are begun."""
_STEP: Final = 10
"""Callbacks between two looks at what they have caused."""
_MOST_CAUSED: Final = 5_000
"""What callbacks may cause, as the caller counts it, before others get their turn."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Done: TypeAlias = Callable[[Result | ChatError], None]
Batch: TypeAlias = list[tuple[Item, Done[Result]]]


class Turn(Protocol):
    """What is done together: ``with turn:`` may be nested, and the outermost end flushes."""

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def add(self, writer: Batcher[Any, Any]) -> None:
        """Flush it at the end, or in the loop's next turn if nothing is being done together."""


class LoopTurn:
    """The event loop's turns, where there are no others."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass

    def add(self, writer: Batcher[Any, Any]) -> None:
        asyncio.get_running_loop().call_soon(writer.flush)


class Batcher(Generic[Item, Result]):
    """Runs items through ``run`` in batches, one batch at a time, in the order submitted.

    ``run`` answers with one result per item.  If it fails, the whole batch has
    failed, and with StoreUnavailable all that waits has too; what is submitted
    after that is tried all the same.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Answer[Sequence[Result]]],
        *,
        max_batch: int,
        max_waiting: int,
        turn: Turn | None = None,
        caused: Callable[[], int] | None = None,
    ) -> None:
        """``turn`` is entered while callbacks are called, and says when to begin a batch.

        ``caused`` tells how much callbacks have caused in all: one that makes a lot
        of work doesn't keep others waiting for that of the whole batch.
        """
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: Batch[Item, Result] = []
        self._begun = False
        """A batch is under way, or about to begin."""
        self._untold: list[tuple[Batch[Item, Result], Sequence[Result | ChatError]]] = []
        """Batches that are through, but for their callbacks; the oldest first."""
        self._closed = False
        self._submitted = 0
        self._done = 0
        self._batch_done: asyncio.Future[None] | None = None
        self._turn = turn or LoopTurn()
        self._caused = caused or _nothing

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
            if not self._begun and len(self._untold) < _UNTOLD:
                self._begun = True
                self._turn.add(self)
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
        await self.settled(self._submitted)

    def flush(self) -> None:
        """Begin the batch that was to begin; called by the turn."""
        batch = self._take()
        if not batch:  # an outage took them
            self._begun = False
            return
        try:
            answer = self._run([item for item, _ in batch])
        except Exception as exc:
            answer = Answer()
            asyncio.get_running_loop().call_soon(answer.fail, exc)
        answer.then(partial(self._answered, batch))

    # -- within

    def _go_on(self) -> None:
        if self._waiting and not self._begun and len(self._untold) < _UNTOLD:
            self._begun = True
            self.flush()

    def _take(self) -> Batch[Item, Result]:
        batch = self._waiting[: self._max_batch]
        del self._waiting[: self._max_batch]
        return batch

    def _answered(self, batch: Batch[Item, Result], answer: Answer[Sequence[Result]]) -> None:
        self._begun = False
        telling = bool(self._untold)
        self._untold.append((batch, self._results(batch, answer)))
        self._go_on()  # first of all: the database is busy while we tell
        if not telling:
            self._tell(0)

    def _results(
        self, batch: Batch[Item, Result], answer: Answer[Sequence[Result]]
    ) -> Sequence[Result | ChatError]:
        """What came of a batch.  If it's no use to run others now, they become part of it."""
        try:
            results = answer.result()
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except StoreUnavailable:
            # What waits would fare the same, each batch after another long wait.
            batch += self._waiting
            self._waiting.clear()
            return [store_unavailable()] * len(batch)
        except (Exception, asyncio.CancelledError):
            fault(logger, "a batch failed")
            return [internal()] * len(batch)
        return results

    def _tell(self, start: int) -> None:
        """Call the callbacks of the first untold batch, from ``start`` on."""
        batch, results = self._untold[0]
        end = min(start + _SLICE, len(batch))
        enough = self._caused() + _MOST_CAUSED
        with self._turn:
            while start < end and self._caused() < enough:
                stop = min(start + _STEP, end)
                for (_, done), result in zip(batch[start:stop], results[start:stop], strict=True):
                    try:
                        done(result)
                    except Exception:
                        fault(logger, "a callback failed")
                start = stop
        if start < len(batch):
            asyncio.get_running_loop().call_soon(self._tell, start)
            return
        del self._untold[0]
        self._done += len(batch)
        if self._batch_done is not None:
            self._batch_done.set_result(None)
            self._batch_done = None
        self._go_on()
        if self._untold:
            asyncio.get_running_loop().call_soon(self._tell, 0)


def _nothing() -> int:
    return 0
