"""A few connections to PostgreSQL, each with one statement at a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import asyncpg

from parley.store.postgres_connect import LOST, PostgresOptions, connect

_DRIVER_ERRORS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver says of itself when its connection breaks in the midst of something."""
IDLE: Final = 200.0
"""Seconds after which an unused connection isn't trusted any more: firewalls and load balancers
drop such connections, some after four minutes, and tell nobody."""


class Lane:
    """Runs single statements on at most ``size`` connections, which are made when needed.

    A connection that saw an error is replaced: what state it is in is no
    question then, and the store recovers by itself.
    """

    def __init__(self, options: PostgresOptions, size: int) -> None:
        self._options = options
        self._places = asyncio.Semaphore(size)
        self._idle: list[tuple[float, Any]] = []
        """Since when, and what; the one used last at the end."""
        self._expired: set[Any] = set()
        """Those on which a statement took too long, until it is told."""

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run a statement and return its rows.

        Raises what asyncpg raises, and OSError: TimeoutError after ``options.timeout`` seconds,
        waiting for a connection included.  Whether the statement was carried out is unknown then.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.timeout
        connection = await self._take(deadline)
        # Costs a tenth of asyncio.timeout, which counts where each message is a transaction.
        timer = loop.call_at(deadline, self._expire, connection)
        try:
            rows: list[Any] = await connection.fetch(statement, *arguments)
        except BaseException as error:
            lost = connection.is_closed()
            connection.terminate()
            self._drop_idle()  # made at the same time, of the same server
            if connection in self._expired and isinstance(error, Exception):
                raise TimeoutError from error
            if lost and isinstance(error, _DRIVER_ERRORS):
                raise ConnectionError(LOST) from error
            raise
        else:
            self._idle.append((loop.time(), connection))
            return rows
        finally:
            timer.cancel()
            self._expired.discard(connection)
            self._places.release()

    async def close(self) -> None:
        """Close the connections; none may be in use."""
        while self._idle:
            _, connection = self._idle.pop()
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InternalClientError):
                await connection.close(timeout=1)

    async def _take(self, deadline: float) -> Any:
        """A connection, and with it a place, which is to be released."""
        if not self._places.locked() and (connection := self._unused()) is not None:
            await self._places.acquire()  # without waiting: costs nothing where nothing is busy
            return connection
        async with asyncio.timeout_at(deadline):
            await self._places.acquire()
            try:
                return self._unused() or await connect(self._options)
            except BaseException:
                self._places.release()
                raise

    def _unused(self) -> Any | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            since, connection = self._idle.pop()
            if not connection.is_closed() and now - since < IDLE:
                return connection
            connection.terminate()
        return None

    def _expire(self, connection: Any) -> None:
        self._expired.add(connection)
        connection.terminate()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop()[1].terminate()
