"""A PostgreSQL that stops, dies or hangs: nothing unstored is shown, and all comes back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import socketio.exceptions

from tests.e2e.clients import Devices, numbered, texts
from tests.e2e.server import HUSH, PATIENCE, ChatServer, new_user, wait_until
from tests.services.postgres import PostgresServer
from tests.services.valkey import RedisServer

from .conversation import send_surely
from .nodes import Cluster, running

Change: TypeAlias = Callable[[PostgresServer], None]

BURST = 3_000


@pytest.fixture
def own_nodes(
    own_postgres: PostgresServer, redis_server: RedisServer, tmp_path: Path
) -> Iterator[Cluster]:
    """Two nodes on a PostgreSQL of their own."""
    settings = {**own_postgres.environment(), **redis_server.environment()}
    with running(Cluster(tmp_path, {**settings, "DATABASE_TIMEOUT": "2"})) as cluster:
        yield cluster


ENDS: dict[str, tuple[Change, Change]] = {
    "stops": (PostgresServer.stop, PostgresServer.start),
    "dies": (PostgresServer.kill, PostgresServer.start),
    "hangs": (PostgresServer.pause, PostgresServer.resume),
}
"""What PostgreSQL does, and what ends it."""


@pytest.mark.parametrize(("end", "begin"), ENDS.values(), ids=ENDS)
async def test_sends_fail_while_postgres_is_away_and_all_comes_back_by_itself(
    own_nodes: Cluster,
    own_postgres: PostgresServer,
    devices: Devices,
    end: Change,
    begin: Change,
) -> None:
    alice, bob = [await devices.connect(node) for node in own_nodes.nodes]
    known = await alice.send(bob.user)
    await asyncio.to_thread(end, own_postgres)
    draft = {"receiver": bob.user, "message": HUSH, "id": new_user()}
    for answer in (
        await alice.call("send message", draft, patience=2 * PATIENCE),
        await bob.call("receive message", {"chatId": known["id"]}, patience=2 * PATIENCE),
        await bob.call("unreceived messages", patience=2 * PATIENCE),
    ):
        error = answer["error"]
        assert (error["code"], error["retryable"]) == ("store_unavailable", True)
    for node in own_nodes.nodes:
        await asyncio.to_thread(_assert_not_ready, node)
    # One who comes now is sent away, and comes back by itself.
    late = devices.make(own_nodes, bob.user, reconnection=True)
    with suppress(socketio.exceptions.ConnectionError):
        await late.connect()

    await asyncio.to_thread(begin, own_postgres)
    for node in own_nodes.nodes:
        await asyncio.to_thread(_wait_until_ready, node)
    chat = await send_surely(alice, bob.user)
    assert await bob.wait("message", 2) == [known, chat]
    assert await bob.unreceived() == [known, chat]
    assert alice.undisturbed
    assert bob.undisturbed


@pytest.mark.parametrize(("end", "begin"), ENDS.values(), ids=ENDS)
async def test_what_is_shown_is_stored_and_what_is_stored_is_shown_once(
    own_nodes: Cluster,
    own_postgres: PostgresServer,
    devices: Devices,
    end: Change,
    begin: Change,
) -> None:
    user = new_user()
    bobs = [await devices.connect(node, user) for node in own_nodes.nodes]
    alice = await devices.connect(own_nodes)
    futures = [
        await alice.request("send message", {"receiver": user, "message": message})
        for message in numbered(BURST)
    ]
    await bobs[0].wait("message", 50)
    await asyncio.to_thread(end, own_postgres)
    answers = await asyncio.wait_for(asyncio.gather(*futures), 3 * PATIENCE)
    await asyncio.to_thread(begin, own_postgres)
    for node in own_nodes.nodes:
        await asyncio.to_thread(_wait_until_ready, node)

    acknowledged = [answer for answer in answers if "error" not in answer]
    last = await send_surely(alice, user)
    inbox = await bobs[0].unreceived()
    assert inbox[-1] == last
    # A commit whose answer was cut off may be stored although its sender was told otherwise.
    assert [chat for chat in inbox if chat in acknowledged] == acknowledged
    assert texts(inbox[:-1]) == numbered(BURST)[: len(inbox) - 1]
    for bob in bobs:
        assert await bob.wait("message", len(inbox), 3 * PATIENCE) == inbox
        assert bob.undisturbed


def _state(node: ChatServer) -> tuple[int, dict[str, Any]]:
    status, body = node.get("/readyz")
    return status, json.loads(body)


def _assert_not_ready(node: ChatServer) -> None:
    status, parts = _state(node)
    expected = {"status": "not ready", "store": False, "bus": True, "accepting": True}
    assert (status, parts) == (503, expected)


def _wait_until_ready(node: ChatServer) -> None:
    wait_until(lambda: _state(node)[0] == 200, lambda: f"a node does not recover:\n{node.log()}")
