"""The short form; `make soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import nodes
from tests.cluster.nodes import Cluster
from tests.e2e.server import ChatServer, running
from tests.services.postgres import Postgres
from tests.services.valkey import RedisServer
from tests.soak.looking import Look
from tests.soak.soaking import SETTINGS, SQLITE_MEMORY, Plan, check, soak

SHORT = Plan(seconds=6, people=6, seed=1, every=1.0)

pytestmark = pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning")


@pytest.mark.slow
async def test_one_process_forgets_its_clients(tmp_path: Path) -> None:
    with running(ChatServer(tmp_path, SETTINGS)) as server:
        report = await soak(SHORT, [server], [server])
    check(report, SQLITE_MEMORY)
    assert any(sample.servers[0].tables["sessions"] for sample in report.samples)


@pytest.mark.slow
async def test_two_nodes_forget_their_clients_and_redis_does(
    postgres: Postgres, redis_server: RedisServer, tmp_path: Path
) -> None:
    redis = redis_server.environment()
    channels = f"{redis['REDIS_PREFIX']}*"
    with postgres.temporary_database() as database:
        settings = {**postgres.environment(database), **redis, **SETTINGS}
        with nodes.running(Cluster(tmp_path, settings)) as cluster:
            before = redis_server.ask("PUBSUB", "CHANNELS", channels)
            assert len(before) == 1  # that of all nodes
            report = await soak(SHORT, [cluster, *cluster.nodes], cluster.nodes)
            assert redis_server.ask("PUBSUB", "CHANNELS", channels) == before
    check(report)
    # The balancer spread the clients' requests: the nodes talked to one another.
    assert any(server.tables["served_links"] for server in report.after)


def test_what_stays_behind_is_seen() -> None:
    quiet = {"sessions": 0, "repairs": 1, "bus_channels": 0, "peer_links": 2}
    assert Look(1, 1, 1, 0, quiet, {}).busy() == {}
    assert Look(1, 1, 1, 0, {**quiet, "sessions": 1}, {}).busy() == {"sessions": 1}
    assert Look(1, 1, 1, 0, {**quiet, "bus_channels": 2}, {}).busy() == {"bus_channels": 2}
    assert Look(1, 1, 1, 3, quiet, {}).busy() == {"waiting": 3}
