"""Which nodes there are, and how to reach them: each keeps a record of itself in Redis.

See :mod:`.keys` for the keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import secrets
from typing import Annotated, Final

import msgspec

from parley.cluster import keys
from parley.cluster.redis_client import Command, RedisClient, RedisUnavailable
from parley.cluster.wire import UNREADABLE
from parley.incidents import Incident, tell
from parley.socketio.peers import NODE_LENGTH

logger = logging.getLogger(__name__)

_NAME: Final = re.compile(rf"[A-Za-z0-9_-]{{{NODE_LENGTH}}}")

_SPACING: Final = 0.1
"""Seconds between two readings of all records, at least."""


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What others know of a node.  Whoever has its ``key`` may talk to it."""

    name: str
    address: str
    """An IP address."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    key: bytes
    """Proves to the node that a peer may talk to it, and to the peer that it is the node."""
    group: str
    """Equal for the workers of one ``parley start``."""
    started: int
    """Milliseconds since the Unix epoch."""
    version: str
    """Parley's."""

    def __repr__(self) -> str:
        return f"NodeRecord({self.name} at {self.address}, port {self.port})"


def new_name() -> str:
    """A name for a node that starts: ``NODE_LENGTH`` characters that any URL may hold."""
    return secrets.token_urlsafe(NODE_LENGTH * 3 // 4)


class Registry:
    """A node's own record, and those of the others.

    All but the constructor raise RedisUnavailable.
    """

    def __init__(self, redis: RedisClient, own: NodeRecord, *, lifetime: float) -> None:
        """``lifetime`` is how many seconds the record outlives the last :meth:`publish`."""
        self._redis = redis
        self._own = own
        self._lifetime = lifetime
        self._record = msgspec.json.encode(own)
        self._records: dict[str, NodeRecord] = {}
        """As they were last read."""
        self._reading: asyncio.Task[RedisUnavailable | None] | None = None
        self._next: asyncio.Task[RedisUnavailable | None] | None = None
        """The reading that has not begun, for those who ask now."""
        self._read_at = -_SPACING

    async def publish(self) -> None:
        """Make the own record last for another lifetime, or write it anew."""
        prefix, name = self._redis.prefix, self._own.name
        milliseconds = round(self._lifetime * 1000)
        # In this order: a name without a record counts as left over.
        await self._redis.run(("SET", keys.record(prefix, name), self._record, "PX", milliseconds))
        await self._redis.run(("SADD", keys.nodes(prefix), name))

    async def withdraw(self) -> None:
        """Remove the own record: nobody is to come any more."""
        prefix, name = self._redis.prefix, self._own.name
        await self._redis.run(
            ("DEL", keys.record(prefix, name)), ("SREM", keys.nodes(prefix), name)
        )

    async def find(self, name: str) -> NodeRecord | None:
        """The record of a node, None if it has ended; ``name`` may be anything.

        While Redis is away, the record is as it was when it was last found here.

        All who ask within a moment share one reading of all records, so that
        names which clients make up cost Redis nothing.
        """
        if not _NAME.fullmatch(name):
            return None
        if self._next is None:
            self._next = asyncio.create_task(self._read())
        failure = await asyncio.shield(self._next)
        record = self._records.get(name)
        if record is None and failure is not None:
            raise failure
        return record

    async def close(self) -> None:
        """End what is under way.  Nobody must ask any more."""
        for task in (self._reading, self._next):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def siblings(self) -> list[NodeRecord]:
        """The other nodes of the own group."""
        own = self._own
        nodes = await live_nodes(self._redis)
        return [each for each in nodes if each.group == own.group and each.name != own.name]

    async def tidy(self) -> None:
        """Remove what is left over of nodes that ended without a word."""
        await live_nodes(self._redis)

    async def _read(self) -> RedisUnavailable | None:
        """Read all records; an outcome, because nobody may be waiting any more."""
        previous, now = self._reading, asyncio.get_running_loop().time
        self._reading = asyncio.current_task()
        if previous is not None:
            await asyncio.wait((previous,))
        await asyncio.sleep(max(0.0, self._read_at + _SPACING - now()))
        self._next = None  # who asks from here on wants a later reading
        self._read_at = now()
        try:
            self._records = {record.name: record for record in await live_nodes(self._redis)}
        except RedisUnavailable as error:
            return error
        return None


async def live_nodes(redis: RedisClient) -> list[NodeRecord]:
    """The records of all nodes, in the order in which they started.

    What is left over of others that ended without a word is removed.
    Raises RedisUnavailable.
    """
    prefix = redis.prefix
    (listed,) = await redis.run(("SMEMBERS", keys.nodes(prefix)))
    if not listed:
        return []
    names = [name for name in listed if _NAME.fullmatch(name.decode("ascii", "replace"))]
    leftovers: list[Command] = [
        ("SREM", keys.nodes(prefix), name) for name in listed if name not in names
    ]
    records: list[NodeRecord] = []
    gets = [("GET", keys.record(prefix, name.decode())) for name in names]
    for name, reply in zip(names, await redis.run(*gets) if gets else [], strict=True):
        if reply is None:
            online = keys.online(prefix, name.decode())
            leftovers += [("SREM", keys.nodes(prefix), name), ("DEL", online)]
        elif (record := _decoded(reply)) is not None and record.name == name.decode():
            records.append(record)
    if leftovers:
        await redis.run(*leftovers)
    return sorted(records, key=lambda record: (record.started, record.name))


def _decoded(record: bytes) -> NodeRecord | None:
    try:
        decoded = msgspec.json.decode(record, type=NodeRecord)
        ipaddress.ip_address(decoded.address)  # no name, which would be looked up
    except (*UNREADABLE, ValueError) as error:
        text = "a node's record in Redis can't be read"
        tell(logger, Incident.NODE_UNKNOWN, text, reason=error, subject="record")
        return None
    return decoded
