"""One write per connection, however many packets it is sent."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Protocol

from parley.incidents import fault

logger = logging.getLogger(__name__)


class Writer(Protocol):
    """What has something queued."""

    def flush(self) -> None:
        """Pass on everything queued, in order."""


class Batch:
    """One write per connection for everything sent within ``with engine.batch:``.

    May be nested; the outermost end writes.  What is sent outside of any batch
    is written in the loop's next turn.
    """

    __slots__ = ("_depth", "_dirty")

    def __init__(self) -> None:
        self._depth = 0
        self._dirty: list[Writer] = []

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth and self._dirty:
            self._flush()

    def add(self, writer: Writer) -> None:
        """The writer has something queued; called once until it is flushed."""
        if not self._dirty and not self._depth:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(writer)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for writer in dirty:
            try:
                writer.flush()
            except Exception:
                fault(logger, "writing to a connection failed")
