"""The only place that chooses what a server rests on: its store, its bus, its cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from parley.bus.local import LocalBus
from parley.chat.ports import Bus, Store
from parley.settings import Settings
from parley.store import lockfile, sqlite_audit
from parley.store.sqlite import BUSY_TIMEOUT, SqliteStore
from parley.store.sqlite_schema import upgrade

if TYPE_CHECKING:
    from parley.cluster.node import Node


class Place(msgspec.Struct, frozen=True):
    """Which process of this machine's server this is."""

    worker: int = 1
    """Its number, from 1."""
    group: str = ""
    """The same for all of them, and no other's."""


class Backends(msgspec.Struct, frozen=True):
    """What :func:`open_backends` opened."""

    store: Store
    bus: Bus
    node: Node | None = None
    """This process's part in a cluster; None if it is alone."""


@contextlib.asynccontextmanager
async def open_backends(settings: Settings, place: Place) -> AsyncIterator[Backends]:
    """Open everything that the settings name, and close it in the end.

    Waits for servers that are away, for ``STARTUP_TIMEOUT`` each.

    Raises:
        StoreBroken, BusBroken: it can't be used, or was away for too long.
        ListenError: there is no listening for other nodes.
    """
    if settings.database_type == "postgres":
        # Late, so that who needs no drivers doesn't wait for them.
        from parley.shared_backends import open_shared  # noqa: PLC0415

        async with open_shared(settings, place.worker, place.group) as (store, bus, node):
            yield Backends(store, bus, node)
        return
    path = Path(settings.database_db)
    with lockfile.serving(path):  # before anything in it is upgraded
        sqlite = await SqliteStore.open(path)
        try:
            yield Backends(sqlite, LocalBus())
        finally:
            await sqlite.close()


async def check_backends(settings: Settings) -> None:
    """Wait until everything that the settings name can be opened; the database is then up to date.

    Raises:
        StoreBroken, BusBroken, ListenError: as :func:`open_backends`.
    """
    async with open_backends(settings, Place()):
        pass


async def migrate(settings: Settings) -> tuple[int, int]:
    """Create or upgrade the database's tables; returns the schema's version before and after.

    Raises:
        StoreBroken: as :func:`open_backends`.
    """
    if settings.database_type == "postgres":
        from parley.shared_backends import migrate_postgres  # noqa: PLC0415 - late, as above

        return await migrate_postgres(settings)
    path = Path(settings.database_db)
    with lockfile.serving(path):
        return await asyncio.to_thread(upgrade, path, BUSY_TIMEOUT)


async def audit(settings: Settings, tell: Callable[[str], object]) -> bool:
    """Check the database, whatever serves it meanwhile; True if it is sound.

    ``tell`` is given the lines of a report, one by one.

    Raises:
        StoreBroken: it can't be looked at.
    """
    if settings.database_type == "postgres":
        from parley.shared_backends import audit_postgres  # noqa: PLC0415 - late, as above

        return await audit_postgres(settings, tell)
    return await sqlite_audit.audit(Path(settings.database_db), tell)
