"""`parley kick` in a cluster: out on all nodes, whether or not Redis is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from socketio.exceptions import ConnectionError as Refused

from tests.e2e.clients import Device, Devices
from tests.e2e.kicks import kick, old_then_new_token, old_token
from tests.e2e.server import new_user
from tests.services.postgres import Postgres

from . import site as site_module
from .conftest import FEW
from .nodes import Cluster
from .site import Site


async def connected(cluster: Cluster, devices: Devices, user: str) -> list[Device]:
    """A device of ``user`` on each node, with a token from before."""
    made = [devices.make(node, user) for node in cluster.nodes]
    for device in made:
        await device.connect(old_token(cluster, user))
    return made


async def is_out(device: Device) -> None:
    assert (await device.wait("error"))[0]["code"] == "token_revoked"
    await device.wait("disconnect")


async def is_refused(device: Device, entrance: Cluster) -> None:
    refusal = await device.refused(old_token(entrance, device.user))
    assert refusal["data"] == {"code": "token_revoked"}


async def test_out_on_all_nodes(cluster: Cluster, devices: Devices) -> None:
    user, other = new_user(), await devices.connect(cluster)
    kicked = await connected(cluster, devices, user)
    await asyncio.to_thread(kick, cluster.nodes[0], user)
    for device in kicked:
        await is_out(device)
    for _ in range(4):  # whichever worker it reaches
        for node in cluster.nodes:
            await is_refused(devices.make(node, user), cluster)
    assert other.undisturbed


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], None], ids=str)
async def test_a_newer_token_leads_back_in(
    cluster: Cluster, devices: Devices, transports: list[str] | None
) -> None:
    user = new_user()
    device = devices.make(cluster, user, transports, reconnection=True)
    await device.connect(old_then_new_token(cluster, user))
    await asyncio.to_thread(kick, cluster.nodes[1], user)
    await device.wait("connect", 2)
    chat = await device.send(user)
    assert await device.wait("message") == [chat]


async def test_nobody_slips_through_while_changing_nodes(
    cluster: Cluster, devices: Devices
) -> None:
    """By the balancer, a session begins on one process and its WebSocket reaches another."""
    user = new_user()
    made = [devices.make(cluster, user) for _ in range(20)]

    async def connect(device: Device) -> None:
        try:
            await device.connect(old_token(cluster, user))
        except Refused:
            assert device.received("connect_error")[-1]["data"] == {"code": "token_revoked"}
        else:
            await is_out(device)

    kicking = asyncio.to_thread(kick, cluster.nodes[0], user)
    arriving = (connect(device) for device in made)
    await asyncio.gather(kicking, *arriving)


@pytest.fixture
def away(postgres: Postgres, tmp_path: Path) -> Iterator[Site]:
    """Two nodes, and a Redis that may go away."""
    with postgres.temporary_database() as database:
        settings: Mapping[str, str] = {**postgres.environment(database), **FEW}
        with site_module.running(tmp_path, settings) as site:
            yield site


async def test_without_redis(away: Site, devices: Devices) -> None:
    user, cluster = new_user(), away.cluster
    kicked = await connected(cluster, devices, user)
    away.valkey.kill()
    await away.until_redis_is(there=False)
    complaint = "Redis does not answer: the nodes learn of it from the database"
    await asyncio.to_thread(kick, cluster.nodes[0], user, complaint=complaint)
    for device in kicked:
        await is_out(device)
    away.valkey.start()
    await away.until_redis_is(there=True)
    for node in cluster.nodes:
        await is_refused(devices.make(node, user), cluster)
