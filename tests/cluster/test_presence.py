"""Who is connected, and to which nodes, as other programs can read it in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from parley.cluster.presence import everyone, who
from parley.cluster.redis_client import RedisClient
from parley.cluster.registry import live_nodes
from parley.model import UserId
from tests.e2e.clients import Devices
from tests.e2e.server import PATIENCE, new_user
from tests.services.valkey import RedisServer

from .conftest import StartCluster
from .conversation import PAUSE
from .nodes import Cluster

LIFETIME = 15.0
"""Seconds that a node is believed in after its last word."""


class Watcher:
    """A program that reads who is connected."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def nodes_of(self, user: str) -> set[str]:
        """The names of the nodes to which a user is connected."""
        return {node.name for node in await who(self._redis, UserId(user))}

    async def until_on(self, user: str, count: int) -> set[str]:
        """Wait until a user is connected to so many nodes; their names."""
        async with asyncio.timeout(LIFETIME + PATIENCE):
            names = await self.nodes_of(user)
            while len(names) != count:
                await asyncio.sleep(PAUSE)
                names = await self.nodes_of(user)
        return names

    async def everyone(self) -> set[tuple[str, str]]:
        """All users, each with the names of their nodes."""
        return {(user, node.name) async for user, node in everyone(self._redis)}

    async def nodes(self) -> set[str]:
        """The names of all nodes."""
        return {node.name for node in await live_nodes(self._redis)}


@asynccontextmanager
async def watching(cluster: Cluster, server: RedisServer) -> AsyncIterator[Watcher]:
    """Read the Redis of a cluster."""
    redis = RedisClient(server.options(prefix=cluster.settings["REDIS_PREFIX"]))
    try:
        yield Watcher(redis)
    finally:
        await redis.close()


async def test_it_is_known_who_is_connected_to_which_nodes(
    start_cluster: StartCluster, redis_server: RedisServer, devices: Devices
) -> None:
    cluster = start_cluster(nodes=2)
    first, second = cluster.nodes
    async with watching(cluster, redis_server) as watcher:
        alice, bob = await devices.connect(first), await devices.connect(second)
        (on_first,) = await watcher.until_on(alice.user, 1)
        (on_second,) = await watcher.until_on(bob.user, 1)
        assert await watcher.nodes() == {on_first, on_second}
        alice_too = await devices.connect(second, alice.user)
        assert await watcher.until_on(alice.user, 2) == {on_first, on_second}
        assert await watcher.everyone() == {
            (alice.user, on_first),
            (alice.user, on_second),
            (bob.user, on_second),
        }
        await alice.disconnect()
        assert await watcher.until_on(alice.user, 1) == {on_second}
        await alice_too.disconnect()
        await watcher.until_on(alice.user, 0)
        assert await watcher.everyone() == {(bob.user, on_second)}
        assert await watcher.nodes_of(new_user()) == set()


async def test_users_are_forgotten_with_their_node(
    start_cluster: StartCluster, redis_server: RedisServer, devices: Devices
) -> None:
    cluster = start_cluster(nodes=3)
    dies, stops, stays = cluster.nodes
    async with watching(cluster, redis_server) as watcher:
        people = [await devices.connect(node) for node in (dies, stops, stays)]
        names = [(await watcher.until_on(person.user, 1)).pop() for person in people]
        await asyncio.to_thread(stops.stop)
        await watcher.until_on(people[1].user, 0)
        await asyncio.to_thread(dies.kill)
        await watcher.until_on(people[0].user, 0)
        assert await watcher.nodes() == {names[2]}
        assert await watcher.everyone() == {(people[2].user, names[2])}


async def test_who_moves_to_a_websocket_on_another_node_is_known_at_one(
    cluster: Cluster, redis_server: RedisServer, devices: Devices
) -> None:
    async with watching(cluster, redis_server) as watcher:
        people = await asyncio.gather(*(devices.connect(cluster) for _ in range(10)))
        for person in people:
            await watcher.until_on(person.user, 1)
        await asyncio.gather(*(person.disconnect() for person in people))
        for person in people:
            await watcher.until_on(person.user, 0)
