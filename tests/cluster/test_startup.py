"""Starting: in any order, many at once, and with a clear word if something is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.clients import Devices
from tests.e2e.server import HUSH, ChatServer
from tests.services.postgres import Postgres, PostgresServer
from tests.services.valkey import RedisServer, ValkeyServer

from .conftest import FEW, StartCluster


@pytest.fixture
def own_valkey_later(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Redis that hasn't been started yet."""
    valkey = ValkeyServer(tmp_path / "valkey")
    yield valkey
    valkey.stop()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_waits_for_postgres(
    own_postgres: PostgresServer, redis_server: RedisServer, tmp_path: Path, workers: str
) -> None:
    own_postgres.stop()
    settings = {**own_postgres.environment(), **redis_server.environment(), "WORKERS": workers}
    server = ChatServer(tmp_path, settings)
    server.launch()
    server.wait_until_it_says("waiting for PostgreSQL")
    own_postgres.start()
    server.wait_until_it_answers()
    assert server.get("/readyz")[0] == 200
    server.stop()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_waits_for_redis(
    postgres: Postgres, own_valkey_later: ValkeyServer, tmp_path: Path, workers: str
) -> None:
    settings = {**postgres.environment(), **own_valkey_later.environment(), "WORKERS": workers}
    server = ChatServer(tmp_path, {**settings, **FEW})
    server.launch()
    server.wait_until_it_says("waiting for Redis")
    own_valkey_later.start()
    server.wait_until_it_answers()
    assert '"status":"ready"' in server.get("/readyz")[1]
    server.stop()


def test_a_server_gives_up_on_a_postgres_that_does_not_come(
    own_postgres: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    own_postgres.stop()
    settings = {**own_postgres.environment(), **redis_server.environment()}
    _assert_gives_up(ChatServer(tmp_path, {**settings, "STARTUP_TIMEOUT": "1"}), "PostgreSQL")


def test_a_server_gives_up_on_a_redis_that_does_not_come(
    postgres: Postgres, own_valkey_later: ValkeyServer, tmp_path: Path
) -> None:
    settings = {**postgres.environment(), **own_valkey_later.environment()}
    _assert_gives_up(ChatServer(tmp_path, {**settings, "STARTUP_TIMEOUT": "1"}), "Redis")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_waits_can_be_stopped(
    own_postgres: PostgresServer, redis_server: RedisServer, tmp_path: Path, workers: str
) -> None:
    own_postgres.stop()
    settings = {**own_postgres.environment(), **redis_server.environment(), "WORKERS": workers}
    server = ChatServer(tmp_path, settings)
    server.launch()
    server.wait_until_it_says("waiting for PostgreSQL")
    server.stop()


def test_a_server_can_be_stopped_while_some_of_its_workers_still_start(
    postgres: Postgres, redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = {**postgres.environment(), **redis_server.environment(), **FEW, "WORKERS": "3"}
    server = ChatServer(tmp_path, settings)
    server.launch()
    server.wait_until_it_says("Started server process")
    server.stop()


def test_a_server_says_at_once_that_a_password_is_wrong(
    own_postgres: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    settings = {**own_postgres.environment(), **redis_server.environment()}
    server = ChatServer(tmp_path, {**settings, "DATABASE_PASSWORD": HUSH})
    server.launch()
    assert server.wait_until_ended() == 2
    assert "parley: " in server.log()
    assert "waiting for" not in server.log()
    server.check_log()


async def test_ten_nodes_can_be_started_at_once_on_an_empty_database(
    start_cluster: StartCluster, devices: Devices
) -> None:
    cluster = start_cluster(nodes=10, DATABASE_POOL_SIZE="1")
    several = [await devices.connect(node) for node in cluster.nodes]
    for sender, receiver in zip(several, several[1:] + several[:1], strict=True):
        chat = await sender.send(receiver.user)
        assert await receiver.wait("message") == [chat]


async def test_a_node_can_join_later(start_cluster: StartCluster, devices: Devices) -> None:
    cluster = start_cluster(nodes=2)
    first, second = cluster.nodes
    await asyncio.to_thread(second.stop)
    alice = await devices.connect(cluster)
    known = await alice.send(alice.user)
    await asyncio.to_thread(second.start)
    alice_too = await devices.connect(second, alice.user)
    assert await alice_too.unreceived() == [known]
    chat = await devices.connect(first)
    sent = await chat.send(alice.user)
    assert await alice_too.wait("message") == [sent]


def _assert_gives_up(server: ChatServer, name: str) -> None:
    server.launch()
    assert server.wait_until_ended() == 2
    *_, last = server.log().splitlines()
    assert last.startswith(f"parley: {name} was not there within 1 seconds"), server.log()
    server.check_log()
