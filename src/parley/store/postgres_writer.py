"""The connection on which the PostgreSQL store commits."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from parley.incidents import Incident, tell
from parley.store.postgres_connect import FAILURES, LOST, PostgresOptions, connect
from parley.store.postgres_lane import IDLE
from parley.store.postgres_wire import Row, Wire

logger = logging.getLogger(__name__)


class Writer:
    """Runs one statement at a time, on a connection that is made when needed.

    It is replaced after any error: what state it is in is no question then, and
    the store recovers by itself.
    """

    def __init__(self, options: PostgresOptions) -> None:
        self._options = options
        self._wire: Wire | None = None
        self._used = 0.0

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
            if self._wire.lost:
                text = "the connection for commits is made anew"
                tell(logger, Incident.STORE_RECONNECTED, text, reason=LOST)
            self._wire.abort(ConnectionError(LOST))
        async with asyncio.timeout_at(deadline):
            connection = await connect(self._options)
        self._wire = Wire(connection, keep=not self._options.pooler)
        return self._wire
