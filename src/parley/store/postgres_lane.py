"""A few connections to PostgreSQL, each with one statement at a time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any, Final

import asyncpg

from parley.store.postgres_connect import PostgresOptions, connect

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

    async def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """Run a statement and return its rows.

        Raises what asyncpg raises, and OSError: TimeoutError after ``options.timeout`` seconds,
        waiting for a connection included.  Whether the statement was carried out is unknown then.
        """
        async with asyncio.timeout(self._options.timeout), self._places:
            connection = self._take() or await connect(self._options)
            try:
                rows: list[Any] = await connection.fetch(statement, *arguments)
            except BaseException as error:
                lost = connection.is_closed()
                connection.terminate()
                self._drop_idle()  # made at the same time, of the same server
                if lost and isinstance(error, _DRIVER_ERRORS):
                    raise ConnectionError("the connection was lost") from error
                raise
            self._idle.append((time.monotonic(), connection))
            return rows

    async def close(self) -> None:
        """Close the connections; none may be in use."""
        while self._idle:
            _, connection = self._idle.pop()
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InternalClientError):
                await connection.close(timeout=1)

    def _take(self) -> Any | None:
        while self._idle:
            since, connection = self._idle.pop()
            if not connection.is_closed() and time.monotonic() - since < IDLE:
                return connection
            connection.terminate()
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop()[1].terminate()
