"""The connection on which the PostgreSQL store commits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final

import asyncpg

from parley.store.postgres_connect import FAILURES, LOST, PostgresOptions, connect
from parley.store.postgres_lane import IDLE
from parley.store.postgres_wire import Row, Wire

_OURS: Final = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"""
_LOOK: Final = 0.01
"""Seconds between two looks whether a session has ended."""


class Writer:
    """Runs one statement at a time, on a connection that is made when needed.

    It is replaced after any error: what state it is in is no question then, and
    the store recovers by itself.  What was under way on a lost one is stored
    before anything that is run after it, or never.
    """

    def __init__(self, options: PostgresOptions) -> None:
        self._options = options
        self._wire: Wire | None = None
        self._used = 0.0
        self._session: Any = None
        """Of the last connection, at the server; None before the first, or behind a pooler."""

    async def fetch(self, statement: str, *arguments: str) -> list[Row]:
        """Run a statement, a transaction of its own, and return its rows.

        Raises as :meth:`Wire.run`, and TimeoutError after ``options.timeout`` seconds, connecting
        included.  Whether the statement was carried out is unknown then.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        deadline = now + self._options.timeout
        wire = self._wire
        if wire is None or wire.lost or now - self._used > IDLE:
            wire = await self._renew(deadline)
        timer = loop.call_at(deadline, wire.abort, TimeoutError())
        try:
            rows = await wire.run(statement, arguments)
        except BaseException:
            wire.abort(ConnectionError(LOST))
            raise
        finally:
            timer.cancel()
        self._used = now
        return rows

    async def close(self) -> None:
        """Close the connection; it must not be in use."""
        wire, self._wire = self._wire, None
        if wire is not None and not wire.lost:
            with suppress(*FAILURES):
                await wire.close()

    async def _renew(self, deadline: float) -> Wire:
        if self._wire is not None:
            self._wire.abort(ConnectionError(LOST))
        async with asyncio.timeout_at(deadline):
            connection = await connect(self._options)
            if not self._options.pooler:
                await self._succeed(connection)
        self._wire = Wire(connection, keep=not self._options.pooler)
        return self._wire

    async def _succeed(self, connection: Any) -> None:
        """Wait until the session of the last connection has ended.

        The server doesn't notice at once that a connection is lost: a commit that waits for a lock
        could come after those of the new one.
        """
        try:
            with suppress(asyncpg.InsufficientPrivilegeError):  # an administrator may forbid it
                while self._session is not None and await connection.fetch(_END, *self._session):  # noqa: ASYNC110 - nothing tells when
                    await asyncio.sleep(_LOOK)
            [self._session] = await connection.fetch(_OURS)
        except BaseException as error:
            connection.terminate()
            if isinstance(error, asyncpg.InterfaceError):
                raise ConnectionError(LOST) from error
            raise
