"""Threads that work on an SQLite file, each job with a connection to itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from parley.errors import StoreUnavailable

T = TypeVar("T")

MISTAKES = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
"""Errors that tell of a fault in this program, not of the disk or of locks."""


def connect(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open an existing file; nothing is known about its content yet."""
    return sqlite3.connect(
        f"{path.as_uri()}?mode=rw",  # never creates a second database when the first was moved
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,  # a lane gives it to one thread after the other
    )


def connect_writer(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open a connection whose commits are on disk when they return."""
    db = connect(path, busy_timeout)
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA fullfsync = ON")  # macOS leaves data in the drive's cache otherwise
    db.execute("PRAGMA cache_size = -32768")  # KiB
    # Pages; SQLite's 1000 would make every few large commits wait for a checkpoint.
    db.execute("PRAGMA wal_autocheckpoint = 4000")
    return db


def connect_reader(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """Open a connection that can't write."""
    db = connect(path, busy_timeout)
    db.execute("PRAGMA query_only = ON")
    return db


class Lane:
    """Threads that do jobs, each job with a connection to itself.

    A connection that saw an error is replaced: what state it is in is no
    question then, and the store recovers by itself.
    """

    def __init__(self, name: str, threads: int, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._idle: list[sqlite3.Connection] = []
        self._threads = ThreadPoolExecutor(threads, name)

    async def run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._do, job)

    def close(self, last: str | None = None) -> None:
        """Do the jobs that wait, then ``last`` if there is a connection; blocks meanwhile."""
        self._threads.shutdown()
        for db in self._idle:
            if last is not None:
                with suppress(sqlite3.Error):  # all of it is safe without
                    db.execute(last).fetchall()
            db.close()

    def _do(self, job: Callable[[sqlite3.Connection], T]) -> T:
        try:
            db = self._take()
            try:
                outcome = job(db)
            except BaseException:
                db.close()
                raise
        except sqlite3.DatabaseError as error:
            if isinstance(error, MISTAKES):
                raise
            raise StoreUnavailable(f"SQLite: {error}") from error
        self._idle.append(db)
        return outcome

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()


@contextmanager
def transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    db.execute(begin)
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
