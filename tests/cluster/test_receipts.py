"""Delivery marks between users of different nodes."""

from __future__ import annotations

import asyncio
import json

import aiohttp

from tests.e2e.clients import Chat, Device, Devices, numbered
from tests.e2e.raw import RawClient, sending
from tests.e2e.server import HUSH, PATIENCE, new_user

from .nodes import Cluster

BURST = 100


def mark_of(chat: Chat) -> dict[str, str]:
    """What the sender of a chat is told."""
    return {"chatId": chat["id"], "receiver": chat["receiver"]}


async def on_each_node(
    cluster: Cluster, devices: Devices, user: str, *, receipts: bool = False
) -> list[Device]:
    """A device of one user on each node."""
    return [await devices.connect(node, user, receipts=receipts) for node in cluster.nodes]


async def test_the_sender_is_told_on_all_nodes(cluster: Cluster, devices: Devices) -> None:
    user = new_user()
    alices = await on_each_node(cluster, devices, user, receipts=True)
    plain = await on_each_node(cluster, devices, user)
    bobs = await on_each_node(cluster, devices, new_user())
    marks = []
    for alice in alices:
        for bob in bobs:
            chat = await alice.send(bob.user)
            await bob.receive(chat)
            marks.append(mark_of(chat))
            for device in alices:
                assert await device.wait("received", len(marks)) == marks
    for device in plain:
        await device.receive(await device.send(user))  # whatever was on its way is here by then
        assert device.received("received") == []


async def test_devices_that_mark_at_the_same_time_tell_once(
    cluster: Cluster, devices: Devices
) -> None:
    alice = await devices.connect(cluster.nodes[0], receipts=True)
    bobs = await on_each_node(cluster, devices, new_user())
    chats = await alice.send_all(bobs[0].user, numbered(BURST))
    for bob in bobs:
        await bob.wait("message", BURST)
    answers = [
        await bob.request("receive message", {"chatId": chat["id"]})
        for chat in chats
        for bob in bobs
    ]
    await asyncio.wait_for(asyncio.gather(*answers), 3 * PATIENCE)
    for bob in bobs:  # whatever its node has to tell is told before this
        chats.append(await alice.send(bob.user))
        await bob.receive(chats[-1])
    told = await alice.wait("received", len(chats), 3 * PATIENCE)
    await alice.settle()
    by_id = sorted(told, key=lambda mark: str(mark["chatId"]))
    assert by_id == sorted(map(mark_of, chats), key=lambda mark: mark["chatId"])
    assert await alice.delivered(bobs[0].user, chats[:BURST]) == [c["id"] for c in chats[:BURST]]


async def test_a_device_that_changes_over_to_another_node_goes_on_being_told(
    cluster: Cluster, devices: Devices
) -> None:
    user = new_user()
    bob = await devices.connect(cluster.nodes[0])
    async with aiohttp.ClientSession() as http:
        sid = await polling(http, cluster, user)
        query = {"EIO": "4", "transport": "websocket", "sid": sid}
        url = f"{cluster.nodes[1].url}/socket.io/"
        async with http.ws_connect(url, params=query) as websocket:
            await websocket.send_str("2probe")
            assert await websocket.receive_str(timeout=PATIENCE) == "3probe"
            await websocket.send_str("5")
            alice = RawClient(websocket)
            await alice.send(*sending(bob.user, [HUSH]))
            [chat] = (await alice.packet()).data
            await bob.receive(chat)
            assert (await alice.packet()).data == ["received", mark_of(chat)]


async def polling(http: aiohttp.ClientSession, cluster: Cluster, user: str) -> str:
    """The session of a client that polls the first node, and that asked for receipts there."""
    url = f"{cluster.nodes[0].url}/socket.io/"
    query = {"EIO": "4", "transport": "polling"}
    async with http.get(url, params=query) as opening:
        query["sid"] = json.loads((await opening.text())[1:])["sid"]
    joining = f"40{json.dumps({'token': cluster.token(user), 'receipts': True})}"
    async with http.post(url, params=query, data=joining) as answer:
        assert answer.status == 200
    async with http.get(url, params=query) as joined:
        assert (await joined.text()).startswith("40")
    return query["sid"]
