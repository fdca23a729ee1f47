"""What operators ask a cluster: who is there, what is counted, is the database up to date."""

from __future__ import annotations

import asyncio

from tests.e2e.clients import Devices
from tests.e2e.server import PATIENCE, ChatServer, new_user
from tests.services.command import parley
from tests.services.postgres import Postgres

from .conftest import StartCluster
from .conversation import PAUSE
from .nodes import Cluster


async def test_every_worker_shows_the_metrics_of_all(
    server_with_workers: ChatServer, devices: Devices
) -> None:
    for _ in range(8):
        await devices.connect(server_with_workers, transports=["websocket"])
    for _ in range(4):
        metrics = await asyncio.to_thread(server_with_workers.metrics)
        shown = {name for name in metrics if name.startswith("parley_bus_connected")}
        assert shown == {f'parley_bus_connected{{worker="{number}"}}' for number in range(1, 5)}
        connections = [n for name, n in metrics.items() if name.startswith("parley_connections{")]
        assert len(connections) == 4
        assert sum(connections) >= 8


async def test_who(start_cluster: StartCluster, devices: Devices) -> None:
    cluster: Cluster = start_cluster(nodes=2)
    settings = cluster.settings
    alice = await devices.connect(cluster.nodes[0])
    await devices.connect(cluster.nodes[1])
    async with asyncio.timeout(PATIENCE):
        everyone = await asyncio.to_thread(parley, settings, "who")
        while everyone.stdout.count("\n") < 2:
            await asyncio.sleep(PAUSE)
            everyone = await asyncio.to_thread(parley, settings, "who")
    assert everyone.returncode == 0
    assert everyone.stderr.strip() == "2 connected"
    one = await asyncio.to_thread(parley, settings, "who", "--user", alice.user)
    assert one.stdout in everyone.stdout
    assert one.stdout.startswith(alice.user)
    nobody = await asyncio.to_thread(parley, settings, "who", "--user", new_user())
    assert (nobody.stdout, nobody.stderr.strip()) == ("", "not connected")


def test_who_without_redis(start_cluster: StartCluster) -> None:
    cluster: Cluster = start_cluster(nodes=1)
    away = parley({**cluster.settings, "REDIS_PORT": "1"}, "who")
    assert away.returncode == 2
    assert away.stderr.startswith("parley: Redis does not answer (")


def test_migrate(postgres: Postgres) -> None:
    with postgres.temporary_database() as database:
        settings = {
            **postgres.environment(database),
            "REDIS_HOST": "needed",
            "REDIS_PORT": "1",
        }
        first = parley(settings, "migrate")
        again = parley(settings, "migrate")
    assert first.stdout == "The database was brought from version 0 to version 2.\n"
    assert again.stdout == "The database is up to date: its schema has version 2.\n"
    assert (first.returncode, again.returncode) == (0, 0)
