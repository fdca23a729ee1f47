"""Auditing an SQLite file: see :mod:`parley.store.audit`."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from parley.errors import StoreBroken
from parley.store.audit import (
    COUNTS,
    VERSIONS,
    Check,
    Findings,
    Report,
    Tell,
    check_complete,
    check_store,
    checks,
    version_findings,
)
from parley.store.sqlite import BUSY_TIMEOUT
from parley.store.sqlite_lane import connect_reader
from parley.store.sqlite_schema import explain

_FOUND: Final = "SELECT name FROM sqlite_master WHERE type = 'table'"
_HEX: Final = "[0-9a-f]"
_UUID: Final = "-".join(_HEX * digits for digits in (8, 4, 4, 4, 12))
# PostgreSQL has a type for ids, and keeps its files in order itself.
_CHECKS: Final = (
    Check(
        "file",
        "the file is as SQLite left it",
        "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
        "SQLite says: {0}",
    ),
    Check(
        "ids",
        "every id is a UUID, in lower case",
        f"""
        SELECT receiver, id, sender FROM chats
        WHERE id NOT GLOB '{_UUID}' OR receiver NOT GLOB '{_UUID}' OR sender NOT GLOB '{_UUID}'""",  # noqa: S608 - a constant
        "the message {1} from {2} to {0}",
    ),
    Check(
        "users",
        "every user whose tokens are revoked is a UUID, in lower case",
        f"SELECT user_id FROM revocations WHERE user_id NOT GLOB '{_UUID}'",  # noqa: S608 - a constant
        "the revocation of {0}",
    ),
)


async def audit(path: Path, tell: Tell) -> bool:
    """Check the store in the file ``path``; True if it is sound.

    All checks see one moment, also while a server writes to the file; nothing is changed.

    Raises:
        StoreBroken: it can't be looked at; the message says why.
    """
    path = path.absolute()  # noqa: ASYNC240 - asks no disk
    if not path.exists():
        raise StoreBroken(f"There is no file {path}; correct DATABASE_DB.")
    try:
        with closing(connect_reader(path, BUSY_TIMEOUT)) as db:
            work = asyncio.create_task(asyncio.to_thread(_audit, db, path, Report(tell)))
            try:
                return await asyncio.shield(work)
            finally:
                db.interrupt()  # who gives up need not wait for the end of a query
                await asyncio.gather(work, return_exceptions=True)
    except sqlite3.Error as error:
        raise StoreBroken(explain(path, error)) from error


def _audit(db: sqlite3.Connection, path: Path, report: Report) -> bool:
    db.execute("BEGIN")
    found = {name for (name,) in db.execute(_FOUND)}
    check_store(found, str(path))
    versions = [version for (version,) in db.execute(VERSIONS)]
    versions_found = version_findings("sqlite", versions, str(path))
    check_complete(found, str(path))
    report.begin(f"The SQLite file {path}", *db.execute(COUNTS).fetchone())
    report.add(versions_found)
    for check in (*_CHECKS, *checks()):
        findings = Findings(check.name, check.rule)
        for row in db.execute(check.query):
            findings.add(check.tells.format(*row))
        report.add(findings)
    return report.end()
