"""Messages from one user to another, over every transport."""

from __future__ import annotations

import time
from uuid import UUID

from .clients import CHAT_KEYS, Devices, numbered, texts
from .server import HUSH, ChatServer, new_user

Transports = list[str] | None


async def test_ping_is_answered_with_pong(
    server: ChatServer, devices: Devices, transports: Transports
) -> None:
    device = await devices.connect(server, transports=transports)
    await device.emit("ping")
    assert await device.wait("pong") == ["Hello World!"]


async def test_each_transport_is_the_one_that_was_asked_for(
    server: ChatServer, devices: Devices, transports: Transports
) -> None:
    device = await devices.connect(server, transports=transports)
    await device.settle()
    assert device.transport == ("polling" if transports == ["polling"] else "websocket")


async def test_a_message_reaches_its_receiver_and_is_acknowledged_as_stored(
    server: ChatServer, devices: Devices, transports: Transports
) -> None:
    alice = await devices.connect(server, transports=transports)
    bob = await devices.connect(server, transports=transports)
    before = time.time_ns() // 1_000_000
    acknowledged = await alice.send(bob.user, f"{HUSH} Grüße 👋")
    after = time.time_ns() // 1_000_000

    (chat,) = await bob.wait("message")
    assert chat.keys() == CHAT_KEYS
    assert str(UUID(chat["id"])) == chat["id"]
    assert (chat["sender"], chat["receiver"]) == (alice.user, bob.user)
    assert chat["message"] == f"{HUSH} Grüße 👋"
    assert type(chat["createdAt"]) is int
    assert before <= chat["createdAt"] <= after
    assert chat["received"] is False
    assert acknowledged == chat


async def test_a_message_may_be_sent_without_asking_for_an_acknowledgement(
    server: ChatServer, devices: Devices, transports: Transports
) -> None:
    alice = await devices.connect(server, transports=transports)
    bob = await devices.connect(server, transports=transports)
    await alice.emit("send message", {"receiver": bob.user, "message": HUSH})
    (chat,) = await bob.wait("message")
    assert (chat["sender"], chat["message"]) == (alice.user, HUSH)


async def test_a_message_to_oneself_arrives(
    server: ChatServer, devices: Devices, transports: Transports
) -> None:
    alice = await devices.connect(server, transports=transports)
    chat = await alice.send(alice.user)
    assert chat["sender"] == chat["receiver"] == alice.user
    assert await alice.wait("message") == [chat]


async def test_every_device_of_a_user_gets_each_message_once(
    server: ChatServer, devices: Devices
) -> None:
    alice, user = await devices.connect(server), new_user()
    several = [
        await devices.connect(server, user, transports)
        for transports in (["websocket"], ["polling"], None, ["websocket"])
    ]
    chats = await alice.send_all(user, numbered(20))
    for device in several:
        await device.wait("message", len(chats))
        await device.settle()
        assert device.received("message") == chats


async def test_a_device_that_leaves_takes_nothing_from_the_others(
    server: ChatServer, devices: Devices
) -> None:
    alice, user = await devices.connect(server), new_user()
    leaving, staying = [await devices.connect(server, user) for _ in range(2)]
    first = await alice.send(user, f"{HUSH} 1")
    assert await leaving.wait("message") == [first]
    await leaving.disconnect()
    second = await alice.send(user, f"{HUSH} 2")
    assert await staying.wait("message", 2) == [first, second]
    assert leaving.received("message") == [first]


async def test_no_device_of_the_sender_gets_what_was_sent_to_somebody_else(
    server: ChatServer, devices: Devices
) -> None:
    alice, bob = await devices.connect(server), await devices.connect(server)
    other = await devices.connect(server, alice.user)
    chat = await alice.send(bob.user)
    assert await bob.wait("message") == [chat]
    for device in (alice, other):
        await device.settle()
        assert device.received("message") == []


async def test_users_are_named_in_one_way_however_they_are_spelled(
    server: ChatServer, devices: Devices
) -> None:
    alice, bob = await devices.connect(server), await devices.connect(server)
    chat = await alice.send(bob.user.upper())
    assert chat["receiver"] == bob.user
    assert await bob.wait("message") == [chat]


async def test_more_than_is_asked_for_does_no_harm(server: ChatServer, devices: Devices) -> None:
    alice, bob = await devices.connect(server), await devices.connect(server)
    data = {"receiver": bob.user, "message": HUSH, "sender": bob.user, "received": True, "x": [1]}
    chat = await alice.call("send message", data, "and", ["another", "argument"])
    assert (chat["sender"], chat["received"]) == (alice.user, False)
    assert texts(await bob.wait("message")) == [HUSH]
