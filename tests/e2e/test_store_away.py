"""A store that does not answer: another program holds the lock on the SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from .clients import Devices, numbered, texts
from .server import PATIENCE, ChatServer

BUSY_TIMEOUT = 5.0
"""Seconds that the store waits for a lock; its default, and nothing sets it."""


@contextmanager
def locked(server: ChatServer) -> Iterator[None]:
    """Keep the server from writing to its database."""
    with closing(sqlite3.connect(server.database, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")


async def test_sends_fail_while_the_store_is_away_and_work_again_when_it_is_back(
    own_server: ChatServer, devices: Devices
) -> None:
    alice, bob = await devices.connect(own_server), await devices.connect(own_server)
    known = await alice.send(bob.user)
    lost = numbered(3, "lost")
    with locked(own_server):
        sends = [
            await alice.request("send message", {"receiver": bob.user, "message": message})
            for message in lost
        ]
        marks = await bob.request("receive message", {"chatId": known["id"]})
        await alice.settle()  # others need not wait
        assert await bob.unreceived() == [known]  # reading goes on
        answers = await asyncio.wait_for(asyncio.gather(*sends, marks), 2 * BUSY_TIMEOUT + PATIENCE)
    for answer, device in zip(answers, [alice] * len(sends) + [bob], strict=True):
        error = answer["error"]
        assert error in device.received("error")
        assert error["id"] == device.user
        assert (error["code"], error["retryable"]) == ("store_unavailable", True)
        assert "sqlite" not in error["message"].lower()
        assert "lock" not in error["message"].lower()

    chats = await alice.send_all(bob.user, numbered(3, "kept"))
    assert await bob.wait("message", 4) == [known, *chats]
    assert await bob.unreceived() == [known, *chats]
    await bob.mark_received(known)
    assert await bob.unreceived() == chats
    await asyncio.to_thread(_assert_ready, own_server)


async def test_sends_wait_for_a_store_that_is_away_for_a_moment(
    own_server: ChatServer, devices: Devices
) -> None:
    alice, bob = await devices.connect(own_server), await devices.connect(own_server)
    with locked(own_server):
        futures = [
            await alice.request("send message", {"receiver": bob.user, "message": message})
            for message in numbered(10)
        ]
        for device in (alice, bob):
            await device.settle()
        assert not any(future.done() for future in futures)
        assert bob.received("message") == []
    chats = await asyncio.wait_for(asyncio.gather(*futures), PATIENCE)
    assert texts(chats) == numbered(10)
    assert await bob.wait("message", 10) == chats


async def test_a_message_can_be_sent_again_with_the_id_it_had_when_the_store_was_away(
    own_server: ChatServer, devices: Devices
) -> None:
    alice = await devices.connect(own_server)
    draft = {"receiver": alice.user, "message": "hush", "id": alice.user}
    with locked(own_server):
        answer = await alice.call("send message", draft, patience=BUSY_TIMEOUT + PATIENCE)
    assert answer["error"]["retryable"] is True
    chat = await alice.call("send message", draft)
    assert await alice.wait("message") == [chat]
    assert await alice.unreceived() == [chat]


async def test_a_server_whose_store_is_away_can_be_stopped(
    own_server: ChatServer, devices: Devices
) -> None:
    alice = await devices.connect(own_server)
    with locked(own_server):
        answer = await alice.request("send message", {"receiver": alice.user, "message": "hush"})
        await alice.settle()
        await asyncio.to_thread(own_server.stop)
        error = (await asyncio.wait_for(answer, PATIENCE))["error"]
    assert (error["code"], error["retryable"]) == ("store_unavailable", True)


def _assert_ready(server: ChatServer) -> None:
    assert server.get("/readyz")[0] == 200
