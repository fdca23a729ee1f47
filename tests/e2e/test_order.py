"""The order of messages: as they were sent, for everyone and everywhere."""

from __future__ import annotations

import asyncio

from .clients import Devices, numbered, texts
from .server import PATIENCE, ChatServer, new_user

BURST = 500


async def test_a_burst_is_delivered_stored_and_acknowledged_in_order(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    alice = await devices.connect(server, transports=transports)
    bob = await devices.connect(server, transports=transports)
    burst = numbered(BURST)
    answered: list[str] = []
    for message in burst:
        acknowledgement = await alice.request(
            "send message", {"receiver": bob.user, "message": message}
        )
        acknowledgement.add_done_callback(lambda done: answered.append(done.result()["message"]))

    assert texts(await bob.wait("message", BURST, 3 * PATIENCE)) == burst
    await alice.settle()
    assert answered == burst
    assert texts(await bob.unreceived()) == burst
    assert texts((await bob.everything())[alice.user]) == burst


async def test_sends_with_and_without_acknowledgement_keep_their_order(
    server: ChatServer, devices: Devices
) -> None:
    alice, bob = await devices.connect(server), await devices.connect(server)
    burst = numbered(200)
    for number, message in enumerate(burst):
        emit = alice.request if number % 3 else alice.emit
        await emit("send message", {"receiver": bob.user, "message": message})
    assert texts(await bob.wait("message", len(burst))) == burst


async def test_one_senders_messages_to_several_receivers_are_stored_in_one_order(
    server: ChatServer, devices: Devices
) -> None:
    alice, receivers = await devices.connect(server), [new_user() for _ in range(3)]
    futures = [
        await alice.request("send message", {"receiver": receivers[i % 3], "message": message})
        for i, message in enumerate(numbered(90))
    ]
    chats = await asyncio.wait_for(asyncio.gather(*futures), PATIENCE)
    assert texts(chats) == numbered(90)
    for i, user in enumerate(receivers):
        bob = await devices.connect(server, user)
        assert texts(await bob.unreceived()) == numbered(90)[i::3]


async def test_two_senders_at_once_keep_their_orders_and_all_devices_see_the_same(
    server: ChatServer, devices: Devices
) -> None:
    user = new_user()
    senders = [
        await devices.connect(server, transports=["websocket"]),
        await devices.connect(server, transports=["polling"]),
    ]
    receivers = [await devices.connect(server, user, t) for t in (["websocket"], ["polling"], None)]
    bursts = [numbered(BURST, who) for who in ("left", "right")]
    await asyncio.gather(
        *(sender.send_all(user, burst) for sender, burst in zip(senders, bursts, strict=True))
    )

    seen = [await device.wait("message", 2 * BURST, 3 * PATIENCE) for device in receivers]
    assert seen[0] == seen[1] == seen[2]
    for sender, burst in zip(senders, bursts, strict=True):
        assert texts([chat for chat in seen[0] if chat["sender"] == sender.user]) == burst
    assert await receivers[0].unreceived() == seen[0]
