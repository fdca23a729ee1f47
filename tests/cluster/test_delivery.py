"""Messages between users of different nodes: once, and in one order for everyone."""

from __future__ import annotations

import asyncio

from tests.e2e.clients import Device, Devices, numbered, texts
from tests.e2e.server import new_user

from .conversation import converse, see_the_same
from .nodes import Cluster

BURST = 200


async def on_each_node(cluster: Cluster, devices: Devices, user: str | None = None) -> list[Device]:
    """A device on each node, all of one user or of somebody new each."""
    return [await devices.connect(node, user) for node in cluster.nodes]


async def test_a_message_reaches_devices_on_all_nodes(cluster: Cluster, devices: Devices) -> None:
    bobs = await on_each_node(cluster, devices, new_user())
    for alice in await on_each_node(cluster, devices):
        chat = await alice.send(bobs[0].user)
        for bob in bobs:
            await bob.wait("message")
            assert bob.received("message").pop() == chat


async def test_all_devices_see_what_several_nodes_store_at_the_same_time_in_one_order(
    cluster: Cluster, devices: Devices
) -> None:
    user = new_user()
    bobs = await on_each_node(cluster, devices, user)
    bobs += [await devices.connect(cluster, user, [how]) for how in ("polling", "websocket")]
    senders = [*await on_each_node(cluster, devices), *await on_each_node(cluster, devices)]
    await see_the_same(bobs, await converse(senders, user, BURST))


async def test_two_users_who_write_to_each_other_at_the_same_time_hold_nobody_up(
    cluster: Cluster, devices: Devices
) -> None:
    alice, bob = await on_each_node(cluster, devices)
    to_bob, to_alice = await asyncio.gather(
        alice.send_all(bob.user, numbered(BURST)), bob.send_all(alice.user, numbered(BURST))
    )
    await see_the_same([alice], to_alice)
    await see_the_same([bob], to_bob)


async def test_everybody_may_write_to_everybody_at_the_same_time(
    cluster: Cluster, devices: Devices
) -> None:
    people = [device for _ in range(4) for device in await on_each_node(cluster, devices)]
    sent = await asyncio.gather(
        *(
            sender.send_all(receiver.user, numbered(20, f"{sender.user} {receiver.user}"))
            for sender in people
            for receiver in people
        )
    )
    for person in people:
        inbox = [chat for burst in sent for chat in burst if chat["receiver"] == person.user]
        await see_the_same([person], inbox)


async def test_a_device_that_changes_nodes_misses_nothing(
    cluster: Cluster, devices: Devices
) -> None:
    alice, user = await devices.connect(cluster.nodes[0]), new_user()
    for number, node in enumerate(cluster.nodes * 3):
        bob = await devices.connect(node, user)
        assert texts(await bob.unreceived()) == numbered(number)
        chat = await alice.send(user, numbered(number + 1)[-1])
        assert await bob.wait("message") == [chat]
        await bob.disconnect()


async def test_receipts_and_lists_are_the_same_on_all_nodes(
    cluster: Cluster, devices: Devices
) -> None:
    one, other = await on_each_node(cluster, devices, new_user())
    first, second = [await one.send(one.user, text) for text in numbered(2)]
    await other.mark_received(first)
    for device in (one, other):
        assert await device.unreceived() == [second]
        assert await device.everything() == {one.user: [{**first, "received": True}, second]}


async def test_a_chosen_id_is_one_chat_whichever_node_stores_it(
    cluster: Cluster, devices: Devices
) -> None:
    user, chosen = new_user(), new_user()
    several = await on_each_node(cluster, devices, user)
    draft = {"receiver": user, "message": "hush", "id": chosen}
    chats = await asyncio.gather(
        *(device.call("send message", draft) for device in several for _ in range(10))
    )
    assert chats == [chats[0]] * len(chats)
    await see_the_same(several, chats[:1])
