"""A RedisBus on a cluster whose slots move and whose nodes fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from parley.bus.redis_slots import slot_of
from parley.model import UserId
from parley.redis_options import RedisOptions
from tests.contract.buses import Node, eventually, owner, redis_ends
from tests.services.valkey import ValkeyCluster, ValkeyServer

OWNERS = 30
"""Enough for every node to have some of them."""


@pytest.fixture
def options(own_cluster: ValkeyCluster) -> RedisOptions:
    return own_cluster.options()


@pytest.fixture
async def node(options: RedisOptions) -> AsyncIterator[Node]:
    async with redis_ends(options) as ends:
        yield Node(ends)


@pytest.fixture
async def owners(node: Node) -> list[UserId]:
    """Some who are subscribed."""
    owners = [owner() for _ in range(OWNERS)]
    await asyncio.gather(*map(node.subscriber.subscribe, owners))
    return owners


def slot(options: RedisOptions, owner: UserId) -> int:
    return slot_of(options.channel(f"inbox:{owner}").encode())


def subscriptions(server: ValkeyServer) -> int:
    """How many users' channels it has."""
    return len(server.ask("PUBSUB", "SHARDCHANNELS", "*inbox:*-*"))


async def test_each_channel_is_where_its_slot_is(
    own_cluster: ValkeyCluster, options: RedisOptions, owners: list[UserId]
) -> None:
    for server in own_cluster.nodes:
        here = {each for each in owners if own_cluster.owner(slot(options, each)) is server}
        assert subscriptions(server) == len(here) > 0


async def test_slots_that_move_take_their_subscriptions_along(
    own_cluster: ValkeyCluster, options: RedisOptions, node: Node, owners: list[UserId]
) -> None:
    target = own_cluster.nodes[2]
    for moved in (owners[:3], owners[3:]):
        restored = node.restored
        slots = {slot(options, each) for each in moved}
        away = [each for each in slots if own_cluster.owner(each) is not target]
        own_cluster.move(away, target)
        await node.is_restored(restored + bool(away))
        for each in owners:
            await node.carries_something(each)
        await node.is_back()
    await eventually(lambda: subscriptions(target) == OWNERS)


async def test_publishers_find_slots_that_moved_without_a_subscription(
    own_cluster: ValkeyCluster, options: RedisOptions, node: Node
) -> None:
    ann = owner()
    place = slot(options, ann)
    target = next(each for each in own_cluster.nodes if each is not own_cluster.owner(place))
    own_cluster.move([place], target)
    await node.subscriber.subscribe(ann)
    await node.carries_something(ann)
    await node.is_back()


async def test_users_come_and_go_while_slots_move(
    own_cluster: ValkeyCluster, options: RedisOptions, node: Node, owners: list[UserId]
) -> None:
    stay, go = owners[::2], owners[1::2]
    new = [owner() for _ in range(OWNERS)]
    for number, server in enumerate(own_cluster.nodes):
        users = (*stay[number::3], *go[number::3], *new[number::3])
        moving = {slot(options, each) for each in users}
        own_cluster.move(sorted(moving), server)
        for each in go[number::3]:
            node.subscriber.unsubscribe(each)
        await asyncio.gather(*map(node.subscriber.subscribe, new[number::3]))
    for each in (*stay, *new):
        await node.carries_something(each)
    for each in go:
        await node.falls_silent(each, witness=stay[0])
    await node.is_back()


@pytest.mark.slow
async def test_a_replica_takes_over(own_cluster: ValkeyCluster, options: RedisOptions) -> None:
    replica = own_cluster.add_replica(0)  # the one whose address the nodes were told
    async with redis_ends(options) as ends:
        node, owners = Node(ends), [owner() for _ in range(OWNERS)]
        await asyncio.gather(*map(node.subscriber.subscribe, owners))
        own_cluster.nodes[0].kill()
        await node.is_away()
        await node.is_restored(1)
        await node.is_back()
        for each in owners:
            await node.carries_something(each)
        assert subscriptions(replica) > 0
