"""Clusters, and the clients that use them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.e2e.clients import Devices, devices_of_a_test, mark_as_careless
from tests.e2e.server import ChatServer, running
from tests.services.postgres import Postgres
from tests.services.valkey import RedisServer

from . import nginx as nginx_module
from . import nodes as nodes_module
from .nginx import Nginx
from .nodes import Cluster

StartCluster: TypeAlias = Callable[..., Cluster]

FEW = {"DATABASE_POOL_SIZE": "2"}
"""All servers of the tests share the connections of one PostgreSQL."""


@pytest.fixture(scope="module")
def backends(postgres: Postgres, redis_server: RedisServer) -> Iterator[dict[str, str]]:
    """The settings that name an empty database and a Redis, for the servers of a module."""
    with postgres.temporary_database() as database:
        yield {**postgres.environment(database), **redis_server.environment(), **FEW}


@pytest.fixture(scope="module")
def cluster(
    backends: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Two nodes with two workers each, for all tests of a module; they leave it running."""
    settings = {**backends, "WORKERS": "2"}
    with nodes_module.running(Cluster(tmp_path_factory.mktemp("cluster"), settings)) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def server_with_workers(
    backends: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ChatServer]:
    """Four workers on one port, for all tests of a module."""
    settings = {**backends, "WORKERS": "4"}
    with running(ChatServer(tmp_path_factory.mktemp("workers"), settings)) as server:
        yield server


@pytest.fixture
def nginx(cluster: Cluster, tmp_path: Path) -> Iterator[Nginx]:
    """nginx before the nodes of the cluster; skipped where there is none."""
    ports = [node.port for node in cluster.nodes]
    with nginx_module.running(tmp_path, cluster, ports) as nginx:
        yield nginx


@pytest.fixture
def start_cluster(
    postgres: Postgres, redis_server: RedisServer, tmp_path: Path
) -> Iterator[StartCluster]:
    """Starts a cluster for one test alone: ``start_cluster(nodes=3, WORKERS="2")``."""
    with ExitStack() as stack:

        def start(nodes: int = 2, **settings: str) -> Cluster:
            database = stack.enter_context(postgres.temporary_database())
            common = {**postgres.environment(database), **redis_server.environment(), **FEW}
            cluster = Cluster(tmp_path, {**common, **settings}, nodes=nodes)
            return stack.enter_context(nodes_module.running(cluster))

        yield start


@pytest.fixture
async def devices() -> AsyncIterator[Devices]:
    """Makes the clients of a test."""
    async with devices_of_a_test() as devices:
        yield devices


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_as_careless(items, Path(__file__).parent)
