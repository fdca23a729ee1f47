"""Connections to PostgreSQL: how they are made, and what their failures mean."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Any, Final, Literal

import asyncpg
import msgspec

from parley.errors import StoreUnavailable

SESSION: Final = {
    # A plan must not depend on what the tables held when it was made: statements are prepared
    # once, perhaps while the tables are empty, and have an index for everything they look up.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "default_transaction_isolation": "read committed",
    # Finds out about clients that vanished, and keeps what lies between from forgetting us.
    "tcp_keepalives_idle": "60",
}
"""Settings of our sessions, unless a pooler lends them to others as well."""

# Classes of SQLSTATE, and single ones, that tell of the server's state and not of our faults:
# connections, roles and passwords, the database itself; conflicts; resources, operators, disks.
AWAY_CLASSES: Final = ("08", "28", "3D", "40", "53", "57", "58")
AWAY_STATES: Final = ("25006", "42501", "55P03")
"""It is read-only; a permission is missing; a lock was not to be had."""

FAILURES: Final = (OSError, asyncpg.PostgresError, asyncpg.InternalClientError)
"""What is raised when the server, or something on the way to it, fails."""
LOST: Final = "the connection was lost"


class PostgresOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a PostgreSQL database."""

    host: str
    """A name, an address, or the directory of a Unix socket."""
    port: int = 5432
    user: str
    password: str = ""
    database: str
    tls: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = "prefer"
    """As libpq's sslmode; a Unix socket has none."""
    tls_ca_file: str = ""
    """Whom to trust; empty: whom the system trusts."""
    tls_cert_file: str = ""
    tls_key_file: str = ""
    pool_size: int = 4
    """Connections for reading; one more writes."""
    timeout: float = 10.0
    """Seconds after which a server that doesn't answer counts as away."""
    pooler: bool = False
    """Behind a pooler that gives every transaction another session, such as PgBouncer's mode
    ``transaction``: nothing is kept in a session, and none is changed."""

    @property
    def address(self) -> str:
        """Where the server is, for messages."""
        return f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"PostgresOptions({self.user}@{self.address}/{self.database})"


class CertificateError(OSError):
    """A file that the options name can't be used."""


async def connect(options: PostgresOptions, *, reads_only: bool = False) -> Any:
    """Open a connection to a server that can be written to, within ``options.timeout`` seconds.

    ``reads_only``: a standby will do, and statements are planned as the server likes.
    Raises what asyncpg raises, and OSError: CertificateError among others.
    """
    tls: ssl.SSLContext | str = options.tls
    if options.tls in ("require", "verify-ca", "verify-full"):
        tls = await asyncio.to_thread(_tls_context, options)  # reads files
    session = {"application_name": "parley"}
    if not options.pooler and not reads_only:
        # The server gives up when we have, so that nothing is still under way by then.
        session |= {**SESSION, "statement_timeout": f"{options.timeout * 1000:.0f}"}
    return await asyncpg.connect(
        host=options.host,
        port=options.port,
        user=options.user,
        password=options.password,
        database=options.database,
        ssl=tls,
        timeout=options.timeout,
        server_settings=session,
        target_session_attrs="any" if reads_only else "read-write",
        statement_cache_size=0 if options.pooler else 100,
        max_cached_statement_lifetime=0,
    )


def _tls_context(options: PostgresOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = options.tls == "verify-full"
    try:
        if options.tls_ca_file:
            context.load_verify_locations(options.tls_ca_file)
        elif options.tls == "require":
            context.verify_mode = ssl.CERT_NONE
        else:
            context.load_default_certs()
        if options.tls_cert_file:
            context.load_cert_chain(options.tls_cert_file, options.tls_key_file)
    except OSError as error:
        raise CertificateError(f"its certificate files can't be used ({error})") from error
    return context


def raise_if_away(error: BaseException, options: PostgresOptions) -> None:
    """Raise StoreUnavailable for one of the ``FAILURES`` that may go away by itself."""
    reason = away(error, options)
    if reason is not None:
        raise StoreUnavailable(f"PostgreSQL at {options.address}: {reason}") from error


def away(error: BaseException, options: PostgresOptions) -> str | None:
    """Why the server can't serve us now; None if the error tells of something else."""
    match error:
        case TimeoutError():
            return f"no answer within {options.timeout:g} seconds"
        case asyncpg.TargetServerAttributeNotMatched():
            return "it is read-only; is it a standby?"
        case socket.gaierror():
            return f"the host is not known ({error.strerror})"
        case OSError(errno=int(number)):
            return os.strerror(number).lower()
        case OSError() | asyncpg.InternalClientError():
            return str(error) or type(error).__name__
        case asyncpg.PostgresError():
            state = error.sqlstate or ""
            if state.startswith(AWAY_CLASSES) or state in AWAY_STATES:
                return str(error.args[0])  # without details, which may quote what was sent
    return None


def broken(error: BaseException, options: PostgresOptions) -> str | None:
    """What the operator has to do before the server can serve us; None if it may heal by itself."""
    server, user, database = f"PostgreSQL at {options.address}", options.user, options.database
    match error:
        case asyncpg.InvalidPasswordError():
            return (
                f"{server} refuses the password of {user!r}; correct DATABASE_USER and "
                "DATABASE_PASSWORD."
            )
        case asyncpg.InvalidAuthorizationSpecificationError():
            return (
                f"{server} doesn't let {user!r} in ({error.args[0]}); correct DATABASE_USER, or "
                "allow it there."
            )
        case asyncpg.InvalidCatalogNameError():
            return (
                f"{server} has no database {database!r}; create it, or correct DATABASE_DB: "
                f"CREATE DATABASE \"{database}\" ENCODING 'UTF8' TEMPLATE template0;"
            )
        case asyncpg.UndefinedObjectError():
            return f"{server} doesn't know all of our settings: Parley needs version 13 or later."
        case asyncpg.ProtocolViolationError() if "startup parameter" in str(error):
            return f"{server} is a pooler, such as PgBouncer; set DATABASE_POOLER=true."
        case asyncpg.InsufficientPrivilegeError(severity_en="FATAL"):  # no connection comes about
            return (
                f"{server} doesn't let {user!r} use {database!r} ({error.args[0]}); allow it: "
                f'GRANT CONNECT ON DATABASE "{database}" TO "{user}";'
            )
        case asyncpg.InsufficientPrivilegeError():
            return (
                f"{server} doesn't let {user!r} use {database!r} ({error.args[0]}); allow it there."
            )
        case asyncpg.InterfaceError():
            return f"{server} can't be used: {error.args[0]}."
        case OSError():
            return _tls_broken(error, server)
    return None


def _tls_broken(error: OSError, server: str) -> str | None:
    match error:
        case CertificateError():
            return (
                f"{server} can't be reached, because {error}; correct DATABASE_TLS_CA_FILE, "
                "DATABASE_TLS_CERT_FILE and DATABASE_TLS_KEY_FILE."
            )
        case ssl.SSLCertVerificationError():
            return (
                f"{server} shows a certificate that isn't trusted ({error.verify_message}); name "
                "the one that signed it in DATABASE_TLS_CA_FILE, or correct DATABASE_HOST."
            )
        case ConnectionError() if "rejected SSL upgrade" in str(error):
            return (
                f"{server} doesn't speak TLS; set it up there, or set DATABASE_TLS to prefer or "
                "disable."
            )
    return None
