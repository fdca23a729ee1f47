"""Servers that die, and servers that are stopped: nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio

import aiohttp

from .clients import Device, Devices, numbered, texts
from .raw import Packet, joined, sending
from .server import ChatServer, new_user

BURST = numbered(5_000)
SERVICE_RESTART = 1012


async def test_what_was_acknowledged_outlives_the_sudden_death_of_the_server(
    own_server: ChatServer, devices: Devices, http: aiohttp.ClientSession
) -> None:
    bob = devices.make(own_server)
    async with joined(http, own_server, new_user()) as client:
        sender = asyncio.create_task(client.send(*sending(bob.user, BURST)))
        acknowledged = await client.packets(300)
        own_server.kill()
        acknowledged += (await client.rest())[0]
        await asyncio.gather(sender, return_exceptions=True)

    own_server.start()
    count = _count_in_order(acknowledged)
    stored = await _stored_in_order(bob)
    assert stored >= count >= 300


async def test_a_stopping_server_answers_what_it_has_taken_and_stores_it(
    own_server: ChatServer, devices: Devices, http: aiohttp.ClientSession
) -> None:
    bob = devices.make(own_server)
    async with joined(http, own_server, new_user()) as client:
        sender = asyncio.create_task(client.send(*sending(bob.user, BURST)))
        acknowledged = await client.packets(300)
        own_server.terminate()
        rest, close_code = await client.rest()
        await asyncio.gather(sender, return_exceptions=True)
    assert close_code == SERVICE_RESTART
    await asyncio.to_thread(own_server.wait_until_stopped)

    own_server.start()
    assert await _stored_in_order(bob) == _count_in_order(acknowledged + rest)


async def test_a_stopping_server_has_stored_what_it_acknowledged_to_those_who_poll(
    own_server: ChatServer, devices: Devices
) -> None:
    alice = await devices.connect(own_server, transports=["polling"])
    bob = devices.make(own_server)
    futures = [
        await alice.request("send message", {"receiver": bob.user, "message": message})
        for message in BURST[:2_000]
    ]
    await futures[0]
    own_server.terminate()
    await asyncio.to_thread(own_server.wait_until_stopped)

    own_server.start()
    answered = [future.result()["message"] for future in futures if future.done()]
    assert answered == BURST[: len(answered)]
    assert await _stored_in_order(bob) >= len(answered)


async def test_clients_come_back_by_themselves_after_a_restart(
    own_server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    alice = await devices.connect(own_server, transports=transports, reconnection=True)
    bob = await devices.connect(own_server, transports=transports, reconnection=True)
    before = await alice.send(bob.user, BURST[0])
    await asyncio.to_thread(own_server.restart)
    for device in (alice, bob):
        await device.wait("connect", 2)
        assert len(device.received("disconnect")) == 1
    after = await alice.send(bob.user, BURST[1])
    assert await bob.wait("message", 2) == [before, after]
    assert await bob.unreceived() == [before, after]


async def test_clients_come_back_by_themselves_after_a_sudden_death(
    own_server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    alice = await devices.connect(own_server, transports=transports, reconnection=True)
    before = await alice.send(alice.user, BURST[0])
    own_server.kill()
    await alice.wait("disconnect")
    await asyncio.to_thread(own_server.start)
    await alice.wait("connect", 2)
    after = await alice.send(alice.user, BURST[1])
    assert await alice.wait("message", 2) == [before, after]
    assert await alice.unreceived() == [before, after]


async def test_receipts_and_chosen_ids_are_remembered(
    own_server: ChatServer, devices: Devices
) -> None:
    alice = await devices.connect(own_server, reconnection=True)
    first, second = [await alice.send(alice.user, text, id=new_user()) for text in BURST[:2]]
    await alice.mark_received(first)
    await asyncio.to_thread(own_server.restart)
    await alice.wait("connect", 2)
    assert await alice.unreceived() == [second]
    assert await alice.send(alice.user, BURST[1], id=second["id"]) == second
    assert await alice.everything() == {alice.user: [{**first, "received": True}, second]}


def _count_in_order(acknowledgements: list[Packet]) -> int:
    """How many of the burst were acknowledged: its beginning, in order."""
    assert all(packet.kind == "3" for packet in acknowledgements)
    count = len(acknowledgements)
    assert [packet.id for packet in acknowledgements] == list(range(count))
    assert texts([packet.data[0] for packet in acknowledgements]) == BURST[:count]
    return count


async def _stored_in_order(bob: Device) -> int:
    """How many of the burst wait for somebody: its beginning, in order, each once."""
    await bob.connect()
    stored = texts(await bob.unreceived())
    assert stored == BURST[: len(stored)]
    return len(stored)
