"""PostgreSQL and Redis: what several processes and machines share."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, Protocol, TypeVar

from parley import __version__
from parley.bus.redis import RedisBus
from parley.chat.ports import Revocation
from parley.cluster import presence
from parley.cluster.connection import LinkOptions
from parley.cluster.node import Node, NodeOptions
from parley.cluster.redis_client import RedisClient, RedisUnavailable
from parley.cluster.registry import new_name
from parley.errors import BusBroken, BusUnavailable
from parley.model import UserId
from parley.redis_options import RedisOptions
from parley.settings import Settings
from parley.store import postgres, postgres_audit
from parley.store.postgres import PostgresOptions, PostgresStore
from parley.waiting import wait_for


class Connected(NamedTuple):
    """A connected user, and the node that serves it."""

    user: UserId
    node: str
    address: str
    port: int


class _Closable(Protocol):
    async def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


@contextlib.asynccontextmanager
async def open_shared(
    settings: Settings, worker: int, group: str
) -> AsyncIterator[tuple[PostgresStore, RedisBus, Node]]:
    """As :func:`parley.backends.open_backends`."""
    database, redis = postgres_options(settings), redis_options(settings)
    patience = settings.startup_timeout
    node = NodeOptions(
        name=new_name(),
        group=group,
        version=__version__,
        host=settings.node_host,
        ports=_node_ports(settings, worker),
        link=_link(settings),
    )
    async with (
        _closing(
            await wait_for("PostgreSQL", lambda: PostgresStore.open(database), patience)
        ) as store,
        _closing(await wait_for("Redis", lambda: RedisBus.open(redis), patience)) as bus,
        _closing(await Node.open(redis, node)) as opened,
    ):
        yield store, bus, opened


async def migrate_postgres(settings: Settings) -> tuple[int, int]:
    """As :func:`parley.backends.migrate`."""
    options = postgres_options(settings)
    return await wait_for("PostgreSQL", lambda: postgres.migrate(options), settings.startup_timeout)


async def audit_postgres(settings: Settings, tell: Callable[[str], object]) -> bool:
    """As :func:`parley.backends.audit`."""
    return await postgres_audit.audit(postgres_options(settings), tell)


async def revoke_shared(settings: Settings, revocation: Revocation) -> bool:
    """As :func:`parley.backends.revoke`."""
    options = postgres_options(settings)

    async def put() -> None:
        async with _closing(await PostgresStore.open(options)) as store:
            await store.revocations.put(revocation)

    await wait_for("PostgreSQL", put, settings.startup_timeout)
    try:
        async with _closing(await RedisBus.open(redis_options(settings))) as bus:
            bus.announce_revocations()
    except (BusUnavailable, BusBroken):
        return False
    return True


async def connected_users(settings: Settings, user: UserId | None) -> list[Connected]:
    """Who is connected, as Redis knows it; of ``user`` alone if one is named.

    Raises:
        BusBroken: Redis doesn't answer.
    """
    redis = RedisClient(redis_options(settings))
    try:
        if user is None:
            pairs = [pair async for pair in presence.everyone(redis)]
        else:
            pairs = [(user, node) for node in await presence.who(redis, user)]
    except RedisUnavailable as exc:
        raise BusBroken(f"Redis does not answer ({exc}). Check the settings that name it.") from exc
    finally:
        await redis.close()
    found = {Connected(each, node.name, node.address, node.port) for each, node in pairs}
    return sorted(found)


def _node_ports(settings: Settings, worker: int) -> tuple[int, ...]:
    """A worker that replaces another finds that one's port taken, and takes its twin."""
    if not settings.node_port:
        return (0,)
    first = settings.node_port + worker - 1
    return (first, first + settings.workers)


def _link(settings: Settings) -> LinkOptions:
    """Room for what one polling answer may hold: a list as event and as acknowledgement."""
    usual = LinkOptions()
    frame = max(usual.max_frame, 3 * settings.list_max_bytes + settings.outbox_max_bytes)
    return LinkOptions(max_frame=frame, max_backlog=max(usual.max_backlog, 4 * frame))


def postgres_options(settings: Settings) -> PostgresOptions:
    """How to reach PostgreSQL."""
    return PostgresOptions(
        host=settings.database_host,
        port=settings.database_port,
        user=settings.database_user,
        password=settings.database_password,
        database=settings.database_db,
        tls=settings.database_tls,
        tls_ca_file=settings.database_tls_ca_file,
        tls_cert_file=settings.database_tls_cert_file,
        tls_key_file=settings.database_tls_key_file,
        pool_size=settings.database_pool_size,
        timeout=settings.database_timeout,
        pooler=settings.database_pooler,
    )


def redis_options(settings: Settings) -> RedisOptions:
    """How to reach Redis."""
    tls = None
    if settings.redis_tls:
        tls = ssl.create_default_context(cafile=settings.redis_tls_ca_file or None)
    return RedisOptions(
        host=settings.redis_host,
        port=settings.redis_port,
        username=settings.redis_username,
        password=settings.redis_password,
        database=settings.redis_db,
        tls=tls,
        prefix=settings.redis_prefix,
        timeout=settings.redis_timeout,
    )


@contextlib.asynccontextmanager
async def _closing(opened: C) -> AsyncIterator[C]:
    try:
        yield opened
    finally:
        await opened.close()
