"""Checking a PostgreSQL server and bringing its database up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from parley.errors import StoreBroken
from parley.incidents import Incident, tell
from parley.store.migrations import ADD_VERSION, CREATE_VERSIONS, LAST_VERSION, pending
from parley.store.postgres_connect import FAILURES, PostgresOptions, broken, connect, raise_if_away

logger = logging.getLogger(__name__)

OLDEST: Final = 13
"""The first that vacuums tables which only grow."""
LOCK: Final = int.from_bytes(b"parley")
"""Of pg_advisory_xact_lock: one migrates at a time."""

TABLES: Final = ("chats", "inbox", "heads")
"""Those of the first version, by which a database of Parley's is known."""
NEEDED: Final[Sequence[tuple[str, str, str]]] = [
    ("schema_version", "SELECT", ""),
    *((table, right, "") for table in TABLES for right in ("SELECT", "INSERT")),
    ("chats", "UPDATE", "received"),
    ("heads", "UPDATE", "seq"),
    *(("revocations", right, "") for right in ("SELECT", "INSERT", "UPDATE")),
]
"""The rights without which we can't do our work: table, right, and the column if not all of it."""

SERVER: Final = """
SELECT current_setting('server_version_num')::int / 10000,
  current_setting('server_encoding'), current_setting('synchronous_commit')"""
FOUND: Final = """
SELECT relname::text FROM pg_catalog.pg_class
WHERE relname = ANY ($1::text[]) AND pg_catalog.pg_table_is_visible(oid)"""
# None on a table that isn't there: that is made first.
MISSING: Final = """
SELECT name, right_, part
FROM unnest($1::text[], $2::text[], $3::text[]) AS needed (name, right_, part)
WHERE NOT CASE part
  WHEN '' THEN has_table_privilege(to_regclass(name), right_)
  ELSE has_column_privilege(to_regclass(name), part, right_)
END"""


async def prepare(options: PostgresOptions) -> tuple[int, int]:
    """Make sure that the store can work; returns the schema's version before and after.

    Tables are created or changed if need be, with the rights of ``options.user``; nothing but
    the rights to use them is needed otherwise.  Several processes may do this at once.

    Raises:
        StoreUnavailable: the server can't be reached now, or can't be written to now.
        StoreBroken: somebody has to do something first; the message says what.
    """
    try:
        connection = await connect(options)
        try:
            return await _prepare(connection, options)
        finally:
            connection.terminate()
    except (*FAILURES, asyncpg.InterfaceError) as error:
        reason = broken(error, options)
        if reason is not None:
            raise StoreBroken(reason) from error
        raise_if_away(error, options)
        raise


async def _prepare(connection: Any, options: PostgresOptions) -> tuple[int, int]:
    async with asyncio.timeout(options.timeout):
        await _check_server(connection, options)
        before = await _applied(connection, options)
    after = before
    if pending("postgres", before, _database(options)):
        if before:  # else it is new, and nobody waits for long
            text = f"the {_database(options)} is brought up to date"
            reason = "tables are older than this version"
            tell(logger, Incident.SCHEMA_AWAITED, text, reason=reason, always=True)
        try:
            after = await _migrate(connection, options)
        except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as error:
            raise StoreBroken(_not_allowed(error, before, options)) from error
    async with asyncio.timeout(options.timeout):
        await check_rights(connection, options, NEEDED)
    return before, after


async def _check_server(connection: Any, options: PostgresOptions) -> None:
    version, encoding, synchronous = await connection.fetchrow(SERVER)
    server = f"PostgreSQL at {options.address}"
    if version < OLDEST:
        raise StoreBroken(f"{server} has version {version}; Parley needs {OLDEST} or later.")
    if encoding != "UTF8":
        raise StoreBroken(
            f"The {_database(options)} has the encoding {encoding}, which can't hold every "
            f'message; create one that can: CREATE DATABASE "{options.database}" '
            "ENCODING 'UTF8' TEMPLATE template0;"
        )
    if synchronous == "off":
        raise StoreBroken(
            f"{server} has synchronous_commit off and could lose messages that were "
            f'acknowledged; turn it on: ALTER ROLE "{options.user}" SET synchronous_commit = on;'
        )


async def _applied(connection: Any, options: PostgresOptions) -> int:
    """The version of the schema; 0 if there is none yet."""
    rows = await connection.fetch(FOUND, ["schema_version", *TABLES])
    found = {name for (name,) in rows}
    version = None
    if "schema_version" in found:
        try:
            version = await connection.fetchval(LAST_VERSION)
        except asyncpg.UndefinedColumnError:
            version = "another program's"
        except asyncpg.InsufficientPrivilegeError:
            await check_rights(connection, options, NEEDED)
            raise
    if version is None and found <= {"schema_version"}:
        return 0
    if isinstance(version, int) and found > set(TABLES):
        return version
    raise StoreBroken(
        f"The {_database(options)} has tables that are named like Parley's but aren't "
        f"({', '.join(sorted(found))}); create a database for Parley alone and name it in "
        "DATABASE_DB."
    )


async def _migrate(connection: Any, options: PostgresOptions) -> int:
    """Apply what is missing, all or nothing, and however long it takes."""
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        # Another process may have done it meanwhile.
        version = await _applied(connection, options)
        for migration in pending("postgres", version, _database(options)):
            await connection.execute(CREATE_VERSIONS)
            await connection.execute(migration.script)
            await connection.execute(ADD_VERSION.format(migration.version))
            version = migration.version
    return version


def _not_allowed(error: asyncpg.PostgresError, before: int, options: PostgresOptions) -> str:
    """Why the tables of version ``before`` can't be brought up to date, and what to do."""
    who, where, why = repr(options.user), _database(options), error.args[0]
    grant = f'GRANT {{}} ON SCHEMA public TO "{options.user}";'.format
    if isinstance(error, asyncpg.InvalidSchemaNameError):
        return f"{who} can't see what the {where} holds ({why}); allow it: {grant('USAGE')}"
    if before:
        return (
            f"{who} may not change Parley's tables in the {where} ({why}); run `parley migrate` "
            "with the user that owns them."
        )
    return (
        f"{who} may not create Parley's tables in the {where} ({why}); run `parley migrate` with a "
        f"user that may, or allow it: {grant('CREATE')}"
    )


async def check_rights(
    connection: Any, options: PostgresOptions, needed: Sequence[tuple[str, str, str]]
) -> None:
    """Make sure that ``options.user`` has the ``needed`` rights, in the form of ``NEEDED``.

    Raises:
        StoreBroken: the message has the statements that give those that are missing.
    """
    missing = await connection.fetch(MISSING, *map(list, zip(*needed, strict=True)))
    if missing:
        grants = " ".join(
            f'GRANT {right}{part and f" ({part})"} ON {name} TO "{options.user}";'
            for name, right, part in missing
        )
        raise StoreBroken(
            f"{options.user!r} may not use all of Parley's tables in the {_database(options)}; "
            f"allow it: {grants}"
        )


def _database(options: PostgresOptions) -> str:
    return f"database {options.database!r} of PostgreSQL at {options.address}"
