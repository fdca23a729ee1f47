"""PostgreSQL and Valkey for the measurements: of one's own, durable, on a real disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from bench.errors import CannotRun
from parley.store.postgres_connect import PostgresOptions
from tests.services.postgres import Installation, PostgresServer
from tests.services.valkey import ValkeyServer

POSTGRES: Final = {
    # What makes a commit durable, as it is by default.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    # Several servers are up at a time, and each keeps connections.
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    # One server's dead rows must not be another's CPU time: see Backends.settle.
    "autovacuum": "off",
    "log_line_prefix": "%m [%p] %d %a ",
}
_IN_MEMORY: Final = ("tmpfs", "ramfs")


class Backends:
    """One server's own database, and a Valkey of its own: what is published concerns it alone."""

    def __init__(self, postgres: PostgresServer, folder: Path) -> None:
        self._postgres = postgres
        self._database = postgres.new_database()
        self._valkey = ValkeyServer(folder)

    def start(self) -> None:
        """Return when both are ready."""
        self._valkey.start()

    def stop(self) -> None:
        """Forget the database, and end what was started."""
        self._valkey.stop()
        self._postgres.drop_database(self._database)

    @property
    def pids(self) -> dict[str, int]:
        """The first process of each; the others descend from it."""
        return {"postgres": self._postgres.pid, "redis": self._valkey.pid}

    def environment(self) -> dict[str, str]:
        """The variables by which a server finds both."""
        redis = self._valkey.environment()
        return {
            **self._postgres.environment(self._database),
            "REDIS_HOST": redis["REDIS_HOST"],
            "REDIS_PORT": redis["REDIS_PORT"],
        }

    def execute(self, statement: str) -> None:
        """Run a statement on the database, however long it takes."""
        self._postgres.execute(statement, self._database)

    def settle(self) -> None:
        """Do now what PostgreSQL would do later, in the midst of a measurement."""
        self.execute("VACUUM (ANALYZE)")
        self.execute("CHECKPOINT")


class Services:
    """What the compared servers store their chats in."""

    def __init__(self, postgres: PostgresServer) -> None:
        self._postgres = postgres

    def backends(self, folder: Path) -> Backends:
        """A new database and a new Valkey, which works in ``folder``."""
        backends = Backends(self._postgres, folder)
        try:
            backends.start()
        except BaseException:
            backends.stop()
            raise
        return backends

    @contextmanager
    def database(self) -> Iterator[PostgresOptions]:
        """A new database, and how to reach it."""
        with self._postgres.temporary_database() as name:
            yield self._postgres.options(database=name)

    def version(self) -> str:
        """Of PostgreSQL."""
        ((version,),) = self._postgres.execute("SHOW server_version")
        return str(version)


@contextmanager
def services(folder: Path) -> Iterator[Services]:
    """Start PostgreSQL in ``folder``, which is on a disk, and stop it in the end.

    Raises:
        CannotRun: ``folder`` is kept in memory, where a commit would cost nothing.
    """
    kind = file_system(folder)
    if kind in _IN_MEMORY:
        raise CannotRun(f"{folder} is on {kind}, not on a disk: name another with --folder")
    with Installation(folder).server(POSTGRES) as postgres:
        yield Services(postgres)


def file_system(folder: Path) -> str:
    """The type of the file system that holds ``folder``; empty if unknown."""
    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    for parent in (folder.resolve(), *folder.resolve().parents):
        if kind := mounts.get(str(parent)):
            return str(kind)
    return ""
