"""Which users are connected, and to which nodes; for operators and for other programs.

Each node keeps a set of its users in Redis (see :mod:`.keys`).  A user is
connected to a node if its id is in that node's set and the node has a record::

    SMEMBERS parley:nodes
    EXISTS parley:node:Xy3_aB9-
    SISMEMBER parley:online:Xy3_aB9- 2f1c7a52-8a3e-4c8e-9b1d-0d9a4f6f2f10

:func:`who` and :func:`everyone` do that.  What they say is about a second old.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Final

from parley.cluster import keys
from parley.cluster.redis_client import RedisClient
from parley.cluster.registry import NodeRecord, live_nodes
from parley.model import UserId

_CHUNK: Final = 1000
"""Users that one command names: neither Redis nor the event loop is held up by many."""


class RedisPresence:
    """This node's users.  Implements :class:`parley.chat.ports.Presence`."""

    def __init__(self, redis: RedisClient, name: str, *, lifetime: float) -> None:
        """``lifetime`` is how many seconds the set outlives the last :meth:`publish`."""
        self._redis = redis
        self._key = keys.online(redis.prefix, name)
        self._milliseconds = round(lifetime * 1000)
        self._here: dict[UserId, None] = {}  # a set of so many takes twice as much
        self._changed: set[UserId] | None = None
        """Those whom Redis may know wrongly; None if it may not know anything."""

    def __len__(self) -> int:
        """How many users are here."""
        return len(self._here)

    def joined(self, user: UserId) -> None:
        self._here[user] = None
        if self._changed is not None:
            self._changed.add(user)

    def left(self, user: UserId) -> None:
        self._here.pop(user, None)
        if self._changed is not None:
            self._changed.add(user)

    async def publish(self) -> None:
        """Tell Redis what has changed; or everything, if it has forgotten something.

        Calls must not overlap.  After an exception the next one tells everything.

        Raises:
            RedisUnavailable: some of it may have been told.
        """
        changed, here = self._changed, len(self._here)
        try:
            if changed is None or await self._write(changed) != here:
                await self._write_all()
        except BaseException:
            self._changed = None
            raise

    async def withdraw(self) -> None:
        """Remove the set.  Raises RedisUnavailable."""
        self._changed = None
        await self._redis.run(("DEL", self._key))

    async def _write(self, changed: set[UserId]) -> int:
        """Tell who came and went; return how many users Redis knows then."""
        self._changed = set()
        came, went = changed & self._here.keys(), changed - self._here.keys()
        for chunk in _chunks(came):
            await self._redis.run(("SADD", self._key, *chunk))
        for chunk in _chunks(went):
            await self._redis.run(("SREM", self._key, *chunk))
        _, size = await self._redis.run(
            ("PEXPIRE", self._key, self._milliseconds), ("SCARD", self._key)
        )
        return int(size)

    async def _write_all(self) -> None:
        self._changed = set()
        here = list(self._here)
        await self._redis.run(("DEL", self._key))
        for chunk in _chunks(here):
            await self._redis.run(
                ("SADD", self._key, *chunk), ("PEXPIRE", self._key, self._milliseconds)
            )


async def who(redis: RedisClient, user: UserId) -> list[NodeRecord]:
    """The nodes to which ``user`` is connected.  Raises RedisUnavailable."""
    nodes = await live_nodes(redis)
    if not nodes:
        return []
    replies = await redis.run(
        *(("SISMEMBER", keys.online(redis.prefix, node.name), user) for node in nodes)
    )
    return [node for node, connected in zip(nodes, replies, strict=True) if connected]


async def everyone(redis: RedisClient) -> AsyncIterator[tuple[UserId, NodeRecord]]:
    """All connected users, each with a node, in no order; a pair may come twice.

    However many there are, Redis is not held up.  Raises RedisUnavailable.
    """
    for node in await live_nodes(redis):
        cursor = 0
        while True:
            ((cursor, users),) = await redis.run(
                ("SSCAN", keys.online(redis.prefix, node.name), cursor, "COUNT", _CHUNK)
            )
            for user in users:
                yield UserId(user.decode()), node
            if not cursor:
                break


def _chunks(users: Iterable[UserId]) -> Iterator[list[UserId]]:
    rest = iter(users)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk
