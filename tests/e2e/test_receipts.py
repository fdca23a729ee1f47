"""Delivery marks: what senders are told of what they sent."""

from __future__ import annotations

from typing import Any

import pytest

from .clients import Chat, Devices, numbered
from .server import ChatServer, new_user


def mark_of(chat: Chat) -> dict[str, str]:
    """What the sender of a chat is told."""
    return {"chatId": chat["id"], "receiver": chat["receiver"]}


async def test_the_sender_is_told_when_a_message_is_received(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    alice = await devices.connect(server, transports=transports, receipts=True)
    alice_too = await devices.connect(server, alice.user, receipts=True)
    bob = await devices.connect(server, transports=transports, receipts=True)
    chats = await alice.send_all(bob.user, numbered(3))
    for chat in reversed(chats):
        await bob.receive(chat)
    marks = [mark_of(chat) for chat in reversed(chats)]
    assert await alice.wait("received", 3) == marks
    assert await alice_too.wait("received", 3) == marks
    assert bob.received("received") == []


async def test_who_did_not_ask_for_it_is_told_nothing(server: ChatServer, devices: Devices) -> None:
    asks = await devices.connect(server, receipts=True)
    values: list[Any] = ["true", 1, False, None, {}]
    others = [devices.make(server, asks.user) for _ in values]
    for device, value in zip(others, values, strict=True):
        await device.connect({"token": server.token(asks.user), "receipts": value})
    plain = await devices.connect(server, asks.user)
    bob = await devices.connect(server)
    await bob.receive(await asks.send(bob.user))
    await asks.wait("received")
    for device in (*others, plain):
        chat = await device.send(device.user)
        await device.receive(chat)  # whatever was on its way is here by then
        assert device.received("received") == []


async def test_the_token_may_come_by_another_way(server: ChatServer, devices: Devices) -> None:
    alice, bob = devices.make(server), await devices.connect(server)
    header = {"Authorization": f"Bearer {server.token(alice.user)}"}
    await alice.connect({"receipts": True}, header)
    chat = await alice.send(bob.user)
    await bob.receive(chat)
    assert await alice.wait("received") == [mark_of(chat)]


async def test_the_sender_is_told_once(server: ChatServer, devices: Devices) -> None:
    alice = await devices.connect(server, receipts=True)
    bobs = [await devices.connect(server)]
    bobs.append(await devices.connect(server, bobs[0].user))
    first, last = [await alice.send(bobs[0].user, text) for text in numbered(2)]
    for bob in bobs:
        await bob.receive(first)
        await bob.receive(first)
    for bob in bobs:
        await bob.receive(last)
    assert await alice.wait("received", 2) == [mark_of(first), mark_of(last)]
    await alice.settle()
    assert len(alice.received("received")) == 2


async def test_a_message_to_oneself_is_told_too(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    alice = await devices.connect(server, transports=transports, receipts=True)
    chat = await alice.send(alice.user)
    await alice.receive(chat)
    assert await alice.wait("received") == [mark_of(chat)]
    assert await alice.delivered(alice.user, [chat]) == [chat["id"]]


async def test_who_was_away_asks(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    alice = await devices.connect(server, transports=transports)
    bob = await devices.connect(server)
    chats = await alice.send_all(bob.user, numbered(5))
    await alice.disconnect()
    for chat in chats[1::2]:
        await bob.receive(chat)
    alice = await devices.connect(server, alice.user, transports)
    assert await alice.delivered(bob.user, chats) == [chats[1]["id"], chats[3]["id"]]
    assert await alice.delivered(bob.user, chats[::-1]) == [chats[3]["id"], chats[1]["id"]]
    assert await alice.delivered(bob.user, []) == []
    assert alice.received("error") == []


async def test_the_answer_comes_as_an_event_to_who_wants_no_acknowledgement(
    server: ChatServer, devices: Devices
) -> None:
    alice = await devices.connect(server)
    chat = await alice.send(alice.user)
    await alice.receive(chat)
    question = {"receiver": alice.user.upper(), "chatIds": [chat["id"].upper()]}
    await alice.emit("delivery", question)
    assert await alice.wait("delivery") == [[chat["id"]]]


async def test_the_answer_shows_what_its_client_did_before(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    alice = await devices.connect(server, transports=transports)
    chats = await alice.send_all(alice.user, numbered(100))
    for chat in chats:
        await alice.emit("receive message", {"chatId": chat["id"]})
    assert await alice.delivered(alice.user, chats) == [chat["id"] for chat in chats]


async def test_others_learn_nothing(server: ChatServer, devices: Devices) -> None:
    alice, bob, eve = [await devices.connect(server, receipts=True) for _ in range(3)]
    received, unreceived = [await alice.send(bob.user, text) for text in numbered(2)]
    await bob.receive(received)
    unknown: dict[str, Any] = {"id": new_user()}
    chats = [received, unreceived, unknown]
    for device, receiver in ((eve, bob), (eve, alice), (eve, eve), (bob, alice), (alice, eve)):
        assert await device.delivered(receiver.user, chats) == []
    assert await alice.delivered(bob.user, chats) == [received["id"]]
    assert eve.received("received") == bob.received("received") == []


async def test_what_was_sent_before_is_told_to_who_follows_later(
    server: ChatServer, devices: Devices
) -> None:
    bob = await devices.connect(server)
    early = await devices.connect(server)
    chat = await early.send(bob.user)
    await early.disconnect()
    alice = await devices.connect(server, early.user, receipts=True)
    await bob.receive(await alice.send(bob.user))  # bob's process knows by now that she follows
    await bob.receive(chat)
    assert (await alice.wait("received", 2))[1] == mark_of(chat)


@pytest.mark.parametrize("count", [1, 100])
async def test_as_many_may_be_asked_for(server: ChatServer, devices: Devices, count: int) -> None:
    alice = await devices.connect(server)
    chat = await alice.send(alice.user)
    await alice.receive(chat)
    assert await alice.delivered(alice.user, [chat] * count) == [chat["id"]] * count
