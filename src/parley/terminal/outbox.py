"""What is still to be told to the server, oldest first; it outlives connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Outbox(Generic[T]):
    """A queue whose first one stays until it is known to have been done."""

    def __init__(self) -> None:
        self._waiting: deque[T] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        return iter(self._waiting)

    def add(self, item: T) -> None:
        """``item`` waits behind the others."""
        self._waiting.append(item)
        self._filled.set()
        self._emptied.clear()

    async def first(self) -> T:
        """The oldest one, which stays; waits for it if there is none."""
        await self._filled.wait()
        return self._waiting[0]

    def done(self) -> None:
        """The oldest one need not wait any longer."""
        self._waiting.popleft()
        if not self._waiting:
            self._filled.clear()
            self._emptied.set()

    async def empty(self) -> None:
        """Wait until nothing waits."""
        await self._emptied.wait()
