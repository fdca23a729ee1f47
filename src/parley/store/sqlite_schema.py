"""Making an SQLite file Parley's database, and keeping its schema up to date."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from parley.errors import StoreBroken
from parley.incidents import Incident, tell
from parley.store.migrations import ADD_VERSION, CREATE_VERSIONS, LAST_VERSION, pending

logger = logging.getLogger(__name__)

OLDEST_SQLITE = (3, 37)
"""The first with STRICT tables."""


def upgrade(path: Path, busy_timeout: float) -> tuple[int, int]:
    """Create the SQLite database in the file ``path`` or bring it up to date.

    Returns the schema's version before and after.

    ``busy_timeout``: seconds to wait for another program that has locked it.
    Raises StoreBroken if the file can't be used.  Several processes may do this at once.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreBroken(
            f"This Python comes with SQLite {sqlite3.sqlite_version} but Parley needs"
            f" {'.'.join(map(str, OLDEST_SQLITE))} or later; use a newer Python, or PostgreSQL."
        )
    try:
        if path.is_dir():
            raise StoreBroken(f"{path} is a directory; name a file in it, like {path}/parley.db.")
        _create_file(path)
        db = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None)
        with closing(db):
            _applied(db, path)  # leaves the databases of others as they are
            _enter_wal_mode(db, path, busy_timeout)
            return _migrate(db, path)
    except OSError as error:
        raise StoreBroken(_explain_file(path, error)) from error
    except sqlite3.Error as error:
        raise StoreBroken(explain(path, error)) from error


def _create_file(path: Path) -> None:
    # A file that exists is not opened: closing it again would drop the locks that this process
    # may hold on it.  The messages in it are private, hence the mode.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _applied(db: sqlite3.Connection, path: Path) -> int:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master").fetchall()}
    if not tables:
        return 0
    if not {"schema_version", "inbox"} <= tables:
        raise StoreBroken(f"{path} is the database of another program; name another file.")
    (version,) = db.execute(LAST_VERSION).fetchone()
    return int(version or 0)


def _enter_wal_mode(db: sqlite3.Connection, path: Path, busy_timeout: float) -> None:
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            # SQLite doesn't wait here when another process does the same.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise StoreBroken(
                f"{path} must be on a local disk; its file system can't share memory."
            )
        return


def _migrate(db: sqlite3.Connection, path: Path) -> tuple[int, int]:
    db.execute("BEGIN IMMEDIATE")
    before = _applied(db, path)
    needed = pending("sqlite", before, str(path))
    if needed:
        db.execute(CREATE_VERSIONS)
    if needed and before:  # else it is new, and nobody waits for long
        text, reason = f"{path} is brought up to date", "tables are older than this version"
        tell(logger, Incident.SCHEMA_AWAITED, text, reason=reason, always=True)
    for migration in needed:
        for statement in _statements(migration.script):
            db.execute(statement)
        db.execute(ADD_VERSION.format(migration.version))
    # Finds out now, not with the first message, whether the file is read-only.
    db.execute("UPDATE schema_version SET version = version WHERE false")
    db.execute("COMMIT")
    return before, before + len(needed)


def _statements(script: str) -> Iterator[str]:
    """Split a script; sqlite3's ``executescript`` would commit the transaction it is called in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    yield statement  # comments; or a statement that lacks its semicolon


def _explain_file(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{path.parent} is not a directory; create it or name another file than {path}."
    return f"{path} can't be opened: {(error.strerror or 'unknown reason').lower()}."


def explain(path: Path, error: sqlite3.Error) -> str:
    """Why the file can't be used, and what to do about it."""
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return f"{path} is not an SQLite database; name another file or move this one away."
        case sqlite3.SQLITE_CORRUPT:
            return f"{path} is damaged; move it away and restore a backup."
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return f"{path} can't be written; both it and its directory must be writable."
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{path} is locked by another program; stop that one and start again."
        case sqlite3.SQLITE_FULL:
            return f"{path} can't grow because the disk is full; make room and start again."
        case _:
            return f"{path} can't be used as Parley's database: {error}."
