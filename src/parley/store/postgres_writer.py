"""The connection on which the PostgreSQL store commits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import asyncpg

from parley.answer import Answer
from parley.incidents import Incident, tell
from parley.store.postgres_connect import FAILURES, LOST, PostgresOptions, connect
from parley.store.postgres_lane import IDLE
from parley.store.postgres_wire import Argument, Row, Wire

logger = logging.getLogger(__name__)

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
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._used = 0.0
        self._session: Any = None
        """Of the last connection, at the server; None before the first, behind a pooler, or where
        it can't be seen."""

    @property
    def ready(self) -> bool:
        """The connection stands; :meth:`run` may be called."""
        wire = self._wire
        return wire is not None and not wire.lost and self._loop.time() - self._used <= IDLE

    def run(self, statement: str, arguments: Sequence[Argument]) -> Answer[list[Row]]:
        """Run a statement, a transaction of its own, on the connection that stands.

        Raises as :meth:`Wire.run`, and TimeoutError after ``options.timeout`` seconds.  Whether the
        statement was carried out is unknown then.
        """
        return self._run(statement, arguments, self._loop.time() + self._options.timeout)

    async def fetch(self, statement: str, *arguments: Argument) -> list[Row]:
        """As :meth:`run`, on a new connection if need be; that belongs to the time."""
        deadline = self._loop.time() + self._options.timeout
        if not self.ready:
            await self._renew(deadline)
        return await self._run(statement, arguments, deadline)

    async def close(self) -> None:
        """Close the connection; it must not be in use."""
        wire, self._wire = self._wire, None
        if wire is not None and not wire.lost:
            with suppress(*FAILURES):
                await wire.close()

    def _run(
        self, statement: str, arguments: Sequence[Argument], deadline: float
    ) -> Answer[list[Row]]:
        assert self._wire is not None
        self._used = self._loop.time()
        timer = self._loop.call_at(deadline, self._wire.abort, TimeoutError())
        rows: Answer[list[Row]] = Answer()
        self._wire.run(statement, arguments).then(partial(self._finish, timer, self._wire, rows))
        return rows

    @staticmethod
    def _finish(
        timer: asyncio.TimerHandle, wire: Wire, rows: Answer[list[Row]], answer: Answer[list[Row]]
    ) -> None:
        timer.cancel()
        if answer.error is not None:
            wire.abort(ConnectionError(LOST))
        answer.pass_to(rows)

    async def _renew(self, deadline: float) -> None:
        if self._wire is not None:
            if self._wire.lost:
                text = "the connection for commits is made anew"
                tell(logger, Incident.STORE_RECONNECTED, text, reason=LOST)
            self._wire.abort(ConnectionError(LOST))
        async with asyncio.timeout_at(deadline):
            connection = await connect(self._options)
            if not self._options.pooler:
                await self._succeed(connection)
        self._wire = Wire(connection, keep=not self._options.pooler)

    async def _succeed(self, connection: Any) -> None:
        """Wait until the session of the last connection has ended.

        The server doesn't notice at once that a connection is lost: a commit that waits for a lock
        could come after those of the new one.
        """
        try:
            # An administrator may forbid to see sessions, or to end them.
            with suppress(asyncpg.InsufficientPrivilegeError):
                while self._session is not None and await connection.fetch(_END, *self._session):  # noqa: ASYNC110 - nothing tells when
                    await asyncio.sleep(_LOOK)
                [self._session] = await connection.fetch(_OURS)
        except BaseException as error:
            connection.terminate()
            if isinstance(error, asyncpg.InterfaceError):
                raise ConnectionError(LOST) from error
            raise
