"""Auditing a PostgreSQL database: see :mod:`parley.store.audit`."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

from parley.errors import StoreBroken
from parley.store.audit import (
    COUNTS,
    LATER_TABLES,
    TABLES,
    VERSIONS,
    Findings,
    Report,
    Tell,
    check_complete,
    check_store,
    checks,
    version_findings,
)
from parley.store.postgres_connect import FAILURES, PostgresOptions, away, broken, connect
from parley.store.postgres_schema import check_rights

_FOUND: Final = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL"


async def audit(options: PostgresOptions, tell: Tell) -> bool:
    """Check the store in a database; True if it is sound.

    All checks see one moment, and lock nothing; a standby will do.

    Raises:
        StoreBroken: it can't be looked at; the message says why.
    """
    try:
        connection = await connect(options, reads_only=True)
        try:
            # Else each query would see another moment.
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await _audit(connection, options, Report(tell))
        finally:
            connection.terminate()
    except (*FAILURES, asyncpg.InterfaceError) as error:
        reason = broken(error, options)
        if reason is None and (why := away(error, options)) is not None:
            reason = f"PostgreSQL at {options.address} can't be asked: {why}."
        if reason is None:
            raise
        raise StoreBroken(reason) from error


async def _audit(connection: Any, options: PostgresOptions, report: Report) -> bool:
    await connection.execute("SET LOCAL statement_timeout = 0")  # it takes as long as it takes
    database = f"The database {options.database!r} of PostgreSQL at {options.address}"
    found = {name for (name,) in await connection.fetch(_FOUND, list(TABLES | LATER_TABLES))}
    check_store(found, database)
    await check_rights(connection, options, [(table, "SELECT", "") for table in sorted(found)])
    versions = [version for (version,) in await connection.fetch(VERSIONS)]
    versions_found = version_findings("postgres", versions, database)
    check_complete(found, database)
    report.begin(database, *await connection.fetchrow(COUNTS))
    report.add(versions_found)
    for check in checks():
        findings = Findings(check.name, check.rule)
        async for row in connection.cursor(check.query):
            findings.add(check.tells.format(*row))
        report.add(findings)
    return report.end()
