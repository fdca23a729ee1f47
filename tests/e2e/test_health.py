"""What a server tells those who watch it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from .clients import Devices
from .server import HUSH, PATIENCE, ChatServer


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/healthz", {"status": "ok"}),
        ("/readyz", {"status": "ready", "store": True, "bus": True, "accepting": True}),
    ],
)
async def test_a_running_server_is_alive_and_ready(
    server: ChatServer, path: str, answer: Mapping[str, object]
) -> None:
    status, body = await asyncio.to_thread(server.get, path)
    assert (status, json.loads(body)) == (200, answer)


async def test_who_comes_with_a_browser_learns_what_this_is(server: ChatServer) -> None:
    status, body = await asyncio.to_thread(server.get, "/")
    assert status == 200
    assert "Parley" in body
    assert (await asyncio.to_thread(server.get, "/nothing"))[0] == 404


async def test_connections_and_users_are_counted_up_and_down(
    own_server: ChatServer, devices: Devices
) -> None:
    alice = await devices.connect(own_server, transports=["websocket"])
    alice_too = await devices.connect(own_server, alice.user, ["polling"])
    bob = await devices.connect(own_server)
    await _until(own_server, parley_connections=3, parley_users=2)
    await alice.disconnect()
    await _until(own_server, parley_connections=2, parley_users=2)
    await alice_too.disconnect()
    await _until(own_server, parley_connections=1, parley_users=1)
    await bob.disconnect()
    await _until(own_server, parley_connections=0, parley_users=0)
    await _until(own_server, parley_connections_opened_total=3)


async def test_messages_and_events_are_counted(own_server: ChatServer, devices: Devices) -> None:
    alice = await devices.connect(own_server)
    receivers = [await devices.connect(own_server, user) for user in (None, alice.user)]
    bob = receivers[0]
    for _ in range(3):
        await alice.send(bob.user)
    chat = await bob.send(alice.user)  # who has two devices
    await alice.mark_received(chat)
    await alice.unreceived()

    counted = await asyncio.to_thread(own_server.metrics)
    assert counted["parley_messages_stored_total"] == 4
    assert counted["parley_messages_pushed_total"] == 3 + 2
    assert counted["parley_messages_received_total"] == 1
    assert counted['parley_events_total{event="send message"}'] == 4
    assert counted['parley_events_total{event="receive message"}'] == 1
    assert counted['parley_events_total{event="unreceived messages"}'] == 1
    assert counted["parley_commit_batch_size_sum"] == 5
    assert counted["parley_commit_seconds_count"] == counted["parley_commit_batch_size_count"]
    assert counted["parley_commit_queue"] == 0
    assert counted["parley_outbox_overflows_total"] == 0


async def test_receipts_that_senders_are_told_of_are_counted(
    own_server: ChatServer, devices: Devices
) -> None:
    alice = await devices.connect(own_server, receipts=True)
    alice_too = await devices.connect(own_server, alice.user, receipts=True)
    bob = await devices.connect(own_server)
    for _ in range(3):
        await bob.receive(await alice.send(bob.user))
    for device in (alice, alice_too):
        await device.wait("received", 3)
    counted = await asyncio.to_thread(own_server.metrics)
    assert counted["parley_receipts_pushed_total"] == 3 * 2


async def test_errors_are_counted_by_code(own_server: ChatServer, devices: Devices) -> None:
    alice = await devices.connect(own_server)
    await alice.call("send message", {"receiver": "bob", "message": HUSH})
    await alice.call("receive message", {"chatId": alice.user})
    for name in ("sing", "dance", f"{HUSH} {HUSH}"):
        await alice.call(name)
    await devices.make(own_server).refused({"token": "hush"})
    await devices.make(own_server).refused({})

    counted = await asyncio.to_thread(own_server.metrics)
    assert {name: n for name, n in counted.items() if name.startswith("parley_errors_total")} == {
        'parley_errors_total{code="bad_request"}': 1,
        'parley_errors_total{code="not_found"}': 1,
        'parley_errors_total{code="unknown_event"}': 3,
        'parley_errors_total{code="token_invalid"}': 1,
        'parley_errors_total{code="token_missing"}': 1,
    }
    # What clients make up gets no metric of its own, or there would be no bound to them.
    assert counted['parley_events_total{event="unknown"}'] == 3
    assert not [name for name in counted if HUSH in name]


async def test_connections_are_counted_by_why_they_ended(
    own_server: ChatServer, devices: Devices
) -> None:
    for transports in (["websocket"], ["polling"]):
        device = await devices.connect(own_server, transports=transports)
        await device.disconnect()
    await _until(own_server, **{'parley_connections_closed_total{reason="transport close"}': 2})


async def _until(server: ChatServer, **expected: float) -> None:
    """Wait until the metrics are like that."""
    counted: dict[str, float] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            while expected.items() - counted.items():
                counted = await asyncio.to_thread(server.metrics)
    except TimeoutError:
        assert {name: counted[name] for name in expected} == expected
