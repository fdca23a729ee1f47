"""A list of 10,000 chats: complete, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import time

import pytest

from parley.chat.ids import Uuid7
from parley.chat.ports import NewChat
from parley.model import ChatId, UserId
from parley.store.sqlite import SqliteStore

from .clients import Device, Devices, numbered, texts
from .server import HUSH, PATIENCE, ChatServer, new_user

COUNT = 10_000
"""As many as a list holds by default."""


async def fill(server: ChatServer, receiver: str, messages: list[str]) -> str:
    """Store messages from somebody to ``receiver``, beside the server; returns the sender."""
    sender, now, new_id = new_user(), time.time_ns() // 1_000_000, Uuid7()
    chats = [
        NewChat(ChatId(new_id(now)), UserId(sender), UserId(receiver), message, now)
        for message in messages
    ]
    store = await SqliteStore.open(server.database)
    for start in range(0, len(chats), 1_000):
        await store.commit(chats[start : start + 1_000], [])
    await store.close()
    return sender


async def test_a_large_list_is_complete_and_stalls_nobody(
    server: ChatServer, devices: Devices, transports: list[str] | None
) -> None:
    alice = await devices.connect(server, transports=["websocket"])
    bob = devices.make(server, transports=transports)
    messages = numbered(COUNT)
    sender = await fill(server, bob.user, messages)
    await bob.connect()

    await bob.emit("all messages")
    assert await _pings_until_it_came(alice, bob, "all messages") >= 1
    (listed,) = bob.received("all messages")
    assert listed.keys() == {sender}
    assert texts(listed[sender]) == messages

    await bob.emit("unreceived messages")
    assert await _pings_until_it_came(alice, bob, "unreceived messages") >= 1
    assert texts(bob.received("unreceived messages")[0]) == messages


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_list_larger_than_an_outbox_arrives(
    server: ChatServer, devices: Devices, transports: list[str] | None, acknowledged: bool
) -> None:
    bob = devices.make(server, transports=transports)
    sender = await fill(server, bob.user, [f"{HUSH} {'x' * 9_000}"] * 500)
    await bob.connect()
    emit = bob.request if acknowledged else bob.emit
    await emit("all messages")
    (listed,) = await bob.wait("all messages", 1, 3 * PATIENCE)
    assert len(listed[sender]) == 500
    await bob.settle()
    assert bob.received("disconnect") == []


async def _pings_until_it_came(alice: Device, bob: Device, event: str) -> int:
    """How many pings of one are answered before the other has got the list."""
    pongs = 0
    async with asyncio.timeout(3 * PATIENCE):
        while True:
            await alice.settle()
            if bob.received(event):
                return pongs
            pongs += 1
