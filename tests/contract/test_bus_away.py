"""What a Bus promises when what carries it is away (see ``parley.chat.ports``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple

import pytest

from tests.services.proxy import Proxy
from tests.services.valkey import ValkeyCluster, ValkeyServer

from .buses import Ends, Node, owner, redis_ends


class Breakable(NamedTuple):
    """A bus, and how to take it away and give it back."""

    ends: Ends
    break_: Callable[[], None]
    mend: Callable[[], None]


@asynccontextmanager
async def killed_server(request: pytest.FixtureRequest) -> AsyncIterator[Breakable]:
    server: ValkeyServer = request.getfixturevalue("own_valkey")
    async with redis_ends(server.options()) as ends:
        yield Breakable(ends, server.kill, server.start)


@asynccontextmanager
async def frozen_server(request: pytest.FixtureRequest) -> AsyncIterator[Breakable]:
    server: ValkeyServer = request.getfixturevalue("own_valkey")
    async with redis_ends(server.options()) as ends:
        yield Breakable(ends, server.pause, server.resume)


@asynccontextmanager
async def swallowing_network(request: pytest.FixtureRequest) -> AsyncIterator[Breakable]:
    server: ValkeyServer = request.getfixturevalue("own_valkey")
    with Proxy(server.port) as proxy:
        async with redis_ends(server.options(port=proxy.port)) as ends:
            yield Breakable(ends, proxy.pause, proxy.resume)


@asynccontextmanager
async def killed_cluster_node(request: pytest.FixtureRequest) -> AsyncIterator[Breakable]:
    cluster: ValkeyCluster = request.getfixturevalue("own_cluster")
    async with redis_ends(cluster.options()) as ends:
        # The one whose address the nodes were told: others must do as well.
        yield Breakable(ends, cluster.nodes[0].kill, cluster.nodes[0].start)


BREAKABLE: dict[str, Callable[[pytest.FixtureRequest], AbstractAsyncContextManager[Breakable]]] = {
    "killed server": killed_server,
    "frozen server": frozen_server,
    "swallowing network": swallowing_network,
    "killed cluster node": killed_cluster_node,
}


@pytest.fixture(params=BREAKABLE)
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Breakable]:
    async with BREAKABLE[request.param](request) as opened:
        yield opened


@pytest.fixture
def node(bus: Breakable) -> Node:
    return Node(bus.ends)


OWNERS = 30
"""Enough for every node of a cluster to have some of them."""


async def test_it_comes_back_and_says_so(bus: Breakable, node: Node) -> None:
    owners = [owner() for _ in range(OWNERS)]
    await asyncio.gather(*map(node.subscriber.subscribe, owners))
    for _ in range(2):
        restored = node.restored
        bus.break_()
        await node.is_away()
        assert node.restored == restored
        bus.mend()
        await node.is_restored(restored + 1)
        await node.is_back()
        for each in owners:
            await node.carries_something(each)


async def test_what_changed_meanwhile_holds_afterwards(bus: Breakable, node: Node) -> None:
    left, came, new = ([owner() for _ in range(OWNERS)] for _ in range(3))
    await asyncio.gather(*map(node.subscriber.subscribe, left))
    bus.break_()
    await node.is_away()
    for each in left:
        node.subscriber.unsubscribe(each)
    for each in came:
        await node.subscriber.subscribe(each)
        await node.subscriber.subscribe(each)
    bus.mend()
    await asyncio.gather(*map(node.subscriber.subscribe, new))  # whether it is back yet or not
    await node.is_restored(1)
    await node.is_back()
    for each in (*came, *new):
        await node.carries_something(each)
    for each in left:
        await node.falls_silent(each, witness=came[0])


async def test_nobody_waits_for_it(bus: Breakable, node: Node) -> None:
    here = [owner() for _ in range(OWNERS)]
    await asyncio.gather(*map(node.subscriber.subscribe, here))
    bus.break_()
    await node.is_away()
    strangers = [owner() for _ in range(OWNERS)]
    await asyncio.gather(*map(node.subscriber.subscribe, strangers))
    for seq in range(1, 100):
        for each in (*here, *strangers):
            node.publisher.publish(each, seq, b"lost")
    assert not node.subscriber.connected
    assert node.restored == 0


async def test_users_of_the_same_node_do_not_need_it(bus: Breakable, node: Node) -> None:
    before, after = owner(), owner()
    await node.subscriber.subscribe(before)
    bus.break_()
    await node.is_away()
    await node.subscriber.subscribe(after)
    for each in (before, after):
        node.subscriber.publish(each, 1, b"from here")
    assert node.arrived == [(before, 1, b"from here"), (after, 1, b"from here")]


async def test_it_can_be_closed_while_away(bus: Breakable, node: Node) -> None:
    await node.subscriber.subscribe(owner())
    bus.break_()
    await node.is_away()
    given_up = asyncio.create_task(node.subscriber.subscribe(owner()))
    await node.subscriber.close()
    await given_up
    bus.mend()
    assert not node.subscriber.connected
    assert node.restored == 0
