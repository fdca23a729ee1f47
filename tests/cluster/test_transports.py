"""The transports of official clients, with nothing that keeps a client at one process.

Every HTTP request of a polling client, and the WebSocket that it moves to, may
reach another worker or another node than the one before.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.clients import Device, Devices, numbered, texts
from tests.e2e.javascript import output_of, start_script
from tests.e2e.server import PATIENCE, ChatServer, Entrance, new_user

from .nginx import Nginx
from .nodes import Cluster

CLIENTS = int(os.environ.get("STORM_CLIENTS", "1500"))
"""How many clients of JavaScript come to the cluster; a third of it to the other servers."""
LONG = 60 + 0.2 * CLIENTS
"""Seconds that a storm may take; only against hanging."""
TOGETHER = 40
BURST = 200


async def storm(scripts: Path, entrance: Entrance, secret: str, **how: Any) -> dict[str, Any]:
    """Have many clients come and go, see ``storm.mjs``; what happened."""
    settings = {"url": entrance.url, "secret": secret, "together": TOGETHER, "messages": 4, **how}
    node = await start_script(scripts, settings, "storm.mjs")
    report: dict[str, Any] = json.loads(await output_of(node, LONG))
    return report


def all_well(clients: int, transport: str, messages: int = 4) -> dict[str, Any]:
    """What a storm reports if not one client met with a failure."""
    ended = {"polling": 0, "websocket": 0, transport: clients}
    messages = 2 * messages * clients
    return {"connected": clients, **ended, "messages": messages, "failed": 0, "failures": []}


@pytest.mark.node
@pytest.mark.timeout(LONG)
async def test_the_default_transports_of_javascript_work_behind_a_balancer(
    cluster: Cluster, scripts: Path
) -> None:
    secret = cluster.nodes[0].secret
    assert await storm(scripts, cluster, secret, clients=CLIENTS) == all_well(CLIENTS, "websocket")
    assert cluster.balancer.statuses.keys() == {200, 101}
    assert len(cluster.balancer.requests) == len(cluster.nodes)


@pytest.mark.node
@pytest.mark.timeout(LONG)
async def test_the_default_transports_of_javascript_work_with_workers_on_one_port(
    server_with_workers: ChatServer, scripts: Path
) -> None:
    secret, clients = server_with_workers.secret, CLIENTS // 3
    report = await storm(scripts, server_with_workers, secret, clients=clients)
    assert report == all_well(clients, "websocket")


@pytest.mark.node
@pytest.mark.timeout(LONG)
async def test_the_default_transports_of_javascript_work_behind_nginx(
    cluster: Cluster, nginx: Nginx, scripts: Path
) -> None:
    secret, clients = cluster.nodes[0].secret, CLIENTS // 3
    assert await storm(scripts, nginx, secret, clients=clients) == all_well(clients, "websocket")
    assert set(nginx.statuses()) == {200, 101}


@pytest.mark.node
async def test_messages_flow_in_both_directions_while_a_client_changes_over(
    cluster: Cluster, scripts: Path
) -> None:
    secret, clients, messages = cluster.nodes[0].secret, 100, 50
    report = await storm(scripts, cluster, secret, clients=clients, messages=messages)
    assert report == all_well(clients, "websocket", messages)


@pytest.mark.node
async def test_javascript_may_keep_to_polling(cluster: Cluster, scripts: Path) -> None:
    secret, clients, messages = cluster.nodes[0].secret, 50, 50
    how = {"transports": ["polling"], "clients": clients, "messages": messages}
    # What the balancer answered tells nothing here: the last poll of a client that has left may
    # reach its session's owner, by another way, after its farewell, and is refused then.
    assert await storm(scripts, cluster, secret, **how) == all_well(clients, "polling", messages)


async def test_the_default_transports_of_python_work_behind_a_balancer(
    cluster: Cluster, devices: Devices
) -> None:
    for _ in range(10):
        several = await asyncio.gather(*(devices.connect(cluster) for _ in range(10)))
        await asyncio.gather(*(_echo(device) for device in several))
        assert all(device.transport == "websocket" for device in several)
        assert all(device.undisturbed for device in several)
        await asyncio.gather(*(device.disconnect() for device in several))


async def test_the_default_transports_of_python_work_with_workers_on_one_port(
    server_with_workers: ChatServer, devices: Devices
) -> None:
    several = await asyncio.gather(*(devices.connect(server_with_workers) for _ in range(30)))
    await asyncio.gather(*(_echo(device) for device in several))
    assert all(device.transport == "websocket" for device in several)
    assert all(device.undisturbed for device in several)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_burst_behind_a_balancer_arrives_once_and_in_order(
    cluster: Cluster, devices: Devices, transport: str
) -> None:
    alice, bob = [await devices.connect(cluster, transports=[transport]) for _ in range(2)]
    chats = await alice.send_all(bob.user, numbered(BURST))
    assert texts(chats) == numbered(BURST)
    assert await bob.wait("message", BURST, 3 * PATIENCE) == chats
    await bob.settle()
    assert bob.received("message") == chats
    assert alice.undisturbed
    assert bob.undisturbed


async def test_a_client_that_polls_can_leave_through_any_node(
    cluster: Cluster, devices: Devices
) -> None:
    user = new_user()
    leaving = [await devices.connect(cluster, user, ["polling"]) for _ in range(4)]
    staying = await devices.connect(cluster, user, ["polling"])
    await asyncio.gather(*(device.disconnect() for device in leaving))
    chat = await staying.send(user)
    assert await staying.wait("message") == [chat]
    assert not any(device.received("message") for device in leaving)


async def _echo(device: Device) -> None:
    chat = await device.send(device.user)
    assert await device.wait("message") == [chat]
