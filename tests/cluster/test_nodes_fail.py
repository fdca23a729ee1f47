"""Nodes that die, hang, stop and start again, while people write to each other."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.e2e.clients import Devices, numbered
from tests.e2e.server import ChatServer, new_user, wait_until

from .conftest import StartCluster
from .conversation import Reader, Sender, complete_inbox, see_the_same
from .nodes import Cluster

SHORT_PINGS = {"PING_INTERVAL": "3", "PING_TIMEOUT": "3"}
"""Python's client stops sending when a POST of its fails, and learns of it only by a heartbeat."""
ANY = (["websocket"], ["polling"], None)
"""One device for each way to connect."""


@asynccontextmanager
async def traffic(cluster: Cluster, devices: Devices) -> AsyncIterator[None]:
    """People write and read through the balancer while the cluster changes; in the end all is well.

    Senders send again what wasn't acknowledged.  Readers reconnect by
    themselves, and ask for what they missed.
    """
    user = new_user()
    senders = [
        Sender(await devices.connect(cluster, transports=how, reconnection=True), user)
        for how in ANY
    ]
    readers = [Reader(await devices.connect(cluster, user, how, reconnection=True)) for how in ANY]
    for reader in readers:
        await reader.device.wait("message", 10)
    yield
    sent = [chat for sender in senders for chat in await sender.stop()]
    inbox = await complete_inbox(await devices.connect(cluster, user), sent)
    for reader in readers:
        known = await reader.stop(len(sent))
        assert sorted(known, key=inbox.index) == inbox
        pushed = reader.device.received("message")
        assert pushed == [chat for chat in inbox if chat in pushed]  # each once, in order


async def test_when_a_node_dies_nothing_that_was_acknowledged_is_lost(
    start_cluster: StartCluster, devices: Devices
) -> None:
    cluster = start_cluster(nodes=2, **SHORT_PINGS)
    async with traffic(cluster, devices):
        for node in cluster.nodes:
            await asyncio.to_thread(node.kill)
            await asyncio.to_thread(node.start)


async def test_nodes_can_be_restarted_one_after_the_other(
    start_cluster: StartCluster, devices: Devices
) -> None:
    cluster = start_cluster(nodes=2, **SHORT_PINGS)
    async with traffic(cluster, devices):
        for node in cluster.nodes:
            await asyncio.to_thread(node.restart)


async def test_workers_can_be_replaced_one_after_the_other(
    start_cluster: StartCluster, devices: Devices
) -> None:
    cluster = start_cluster(nodes=1, WORKERS="2", **SHORT_PINGS)
    node = cluster.nodes[0]
    before = node.workers()
    async with traffic(cluster, devices):
        node.signal(signal.SIGHUP)
        await asyncio.to_thread(until_there_are_others, node, before)
    assert len(node.workers()) == 2


async def test_a_worker_that_dies_is_started_anew(
    start_cluster: StartCluster, devices: Devices
) -> None:
    cluster = start_cluster(nodes=1, WORKERS="2", **SHORT_PINGS)
    node = cluster.nodes[0]
    before = node.workers()
    async with traffic(cluster, devices):
        node.kill_worker(min(before))
        await asyncio.to_thread(until_there_are_others, node, {min(before)})


async def test_a_node_that_hangs_for_a_while_catches_up(
    start_cluster: StartCluster, devices: Devices
) -> None:
    cluster = start_cluster(nodes=2)
    hangs, works = cluster.nodes
    user = new_user()
    waiting = [await devices.connect(hangs, user, how) for how in ANY]
    served = await devices.connect(works, user)
    alice = await devices.connect(works)
    hangs.freeze()
    chats = await alice.send_all(user, numbered(200))
    await see_the_same([served], chats)
    hangs.thaw()
    await see_the_same([served, *waiting], chats)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_only_its_own_clients_notice_the_death_of_a_node(
    start_cluster: StartCluster, devices: Devices, transport: str
) -> None:
    cluster = start_cluster(nodes=2)
    doomed, other = cluster.nodes
    user = new_user()
    stays = await devices.connect(other, user, [transport])
    goes = await devices.connect(doomed, user, [transport])
    alice = await devices.connect(other)
    first = await alice.send(user)
    await goes.wait("message")
    await asyncio.to_thread(doomed.kill)
    await goes.wait("disconnect")
    second = await alice.send(user)
    assert await stays.wait("message", 2) == [first, second]
    assert stays.undisturbed
    assert alice.undisturbed


def until_there_are_others(node: ChatServer, gone: set[int]) -> None:
    """Wait until a server has two workers, and those are gone."""
    wait_until(
        lambda: len(node.workers()) == 2 and not gone & node.workers(),
        lambda: f"the workers are {node.workers()}:\n{node.log()}",
    )
