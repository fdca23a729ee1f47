"""The only place that chooses what a server rests on: its store, its bus, its cluster, its keys."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from parley.bus.local import LocalBus
from parley.chat.ports import Bus, Keys, Revocation, RevocationStore, Store
from parley.errors import KeysBroken, StoreBroken
from parley.keys.ring import KeyRing
from parley.keys.secret import SecretKey
from parley.settings import Settings
from parley.store import lockfile, sqlite_audit
from parley.store.sqlite import BUSY_TIMEOUT, SqliteStore
from parley.store.sqlite_schema import upgrade
from parley.waiting import wait_for

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
    keys: Keys
    revocations: RevocationStore
    node: Node | None = None
    """This process's part in a cluster; None if it is alone."""


@contextlib.asynccontextmanager
async def open_backends(settings: Settings, place: Place) -> AsyncIterator[Backends]:
    """Open everything that the settings name, and close it in the end.

    Waits for servers that are away, for ``STARTUP_TIMEOUT`` each.

    Raises:
        StoreBroken, BusBroken, KeysBroken: it can't be used, or was away for too long.
        ListenError: there is no listening for other nodes.
    """
    async with contextlib.AsyncExitStack() as stack:
        keys = await open_keys(settings)
        stack.push_async_callback(keys.close)
        if settings.database_type == "postgres":
            # Late, so that who needs no drivers doesn't wait for them.
            from parley.shared_backends import open_shared  # noqa: PLC0415

            shared = open_shared(settings, place.worker, place.group)
            store, bus, node = await stack.enter_async_context(shared)
            yield Backends(store, bus, keys, store.revocations, node)
            return
        path = Path(settings.database_db)
        stack.enter_context(lockfile.serving(path))  # before anything in it is upgraded
        sqlite = await SqliteStore.open(path)
        stack.push_async_callback(sqlite.close)
        yield Backends(sqlite, LocalBus(), keys, sqlite.revocations)


async def open_keys(settings: Settings) -> Keys:
    """The keys for tokens; to be closed.

    Raises:
        KeysBroken: there are none, or they were away for too long.
    """
    # Late: what public keys need takes memory that nobody else has to spend.
    if settings.jwt_jwks_url:
        from parley.keys.jwks import Pace, PublishedKeys  # noqa: PLC0415

        url, pace = settings.jwt_jwks_url, Pace(settings.jwt_jwks_interval)
        return await wait_for(
            "JWT_JWKS_URL", lambda: PublishedKeys.open(url, pace), settings.startup_timeout
        )
    if settings.jwt_public_key:
        from parley.keys.public import UnusableKey, read_public_keys  # noqa: PLC0415

        try:
            return KeyRing(read_public_keys(settings.jwt_public_key))
        except UnusableKey as error:  # the file was another when the settings were checked
            raise KeysBroken(str(error)) from error
    secrets = (settings.jwt_secret_key, settings.jwt_previous_secret_key)
    return KeyRing(SecretKey(secret) for secret in secrets if secret)


async def check_backends(settings: Settings) -> None:
    """Wait until everything that the settings name can be opened; the database is then up to date.

    Raises:
        StoreBroken, BusBroken, KeysBroken, ListenError: as :func:`open_backends`.
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


async def revoke(settings: Settings, revocation: Revocation) -> bool:
    """Store a revocation, and have the nodes that run look for it at once.

    False: the bus can't tell them; they find it by themselves within about a second.

    Raises:
        StoreBroken: the database can't be used, or was away for too long.
    """
    if settings.database_type == "postgres":
        from parley.shared_backends import revoke_shared  # noqa: PLC0415 - late, as above

        return await revoke_shared(settings, revocation)
    path = Path(settings.database_db)
    if not path.is_file():  # noqa: ASYNC240 - nothing else waits
        raise StoreBroken(f"There is no database {path}, and so nobody to kick.")
    # Not locked: a server is meant to have it open.
    await wait_for("SQLite", lambda: _put(path, revocation), settings.startup_timeout)
    return True


async def _put(path: Path, revocation: Revocation) -> None:
    store = await SqliteStore.open(path)
    try:
        await store.revocations.put(revocation)
    finally:
        await store.close()
