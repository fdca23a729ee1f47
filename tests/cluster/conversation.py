"""What several senders write to one user at the same time, and what all devices must see."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import socketio.exceptions

from tests.e2e.clients import Chat, Device, numbered
from tests.e2e.server import HUSH, PATIENCE, new_user

PAUSE = 0.1
"""Seconds before something is tried again."""


async def converse(senders: Sequence[Device], user: str, count: int) -> list[Chat]:
    """Each sender sends so many messages to ``user`` in one burst; all acknowledged chats."""
    bursts = await asyncio.gather(
        *(sender.send_all(user, numbered(count, sender.user)) for sender in senders)
    )
    return [chat for burst in bursts for chat in burst]


async def see_the_same(devices: Sequence[Device], sent: Sequence[Chat]) -> None:
    """Fail unless all devices of one user get each chat once and in the inbox's order.

    ``sent`` are all chats that the user was ever sent, each sender's in the
    order in which it sent them.  None of the devices may have reconnected.
    """
    inbox = await complete_inbox(devices[0], sent)
    for device in devices:
        await device.wait("message", len(inbox), 3 * PATIENCE)
        await device.settle()
        assert device.received("message") == inbox
        assert device.undisturbed


async def complete_inbox(device: Device, sent: Sequence[Chat]) -> list[Chat]:
    """All that was sent to the user of a device, in the inbox's order.

    Fails unless these are the chats ``sent``, each once, and each sender's in order.
    """
    inbox = await device.unreceived()
    assert len(inbox) == len(sent)
    for sender in {chat["sender"] for chat in sent}:
        of_sender = [chat for chat in inbox if chat["sender"] == sender]
        assert of_sender == [chat for chat in sent if chat["sender"] == sender]
    return inbox


async def until(done: Callable[[], bool]) -> None:
    """Return when ``done`` says so."""
    async with asyncio.timeout(3 * PATIENCE):
        while not done():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(PAUSE)


async def send_surely(device: Device, receiver: str, message: str = HUSH) -> Chat:
    """Send a message again and again until it is acknowledged, as a careful application does.

    It has an id of its own, so that it isn't stored twice.
    """
    draft = {"receiver": receiver, "message": message, "id": new_user()}
    async with asyncio.timeout(6 * PATIENCE):
        while True:
            try:
                answer: Chat = await device.call("send message", draft, patience=2)
            except (TimeoutError, socketio.exceptions.SocketIOError):
                await asyncio.sleep(PAUSE)  # it reconnects
                continue
            if "error" not in answer:
                return answer
            assert answer["error"]["retryable"], answer
            await asyncio.sleep(PAUSE)


class Sender:
    """Sends one message after the other until it is told to stop, however often it reconnects."""

    def __init__(self, device: Device, receiver: str) -> None:
        self._device = device
        self._receiver = receiver
        self._stop = False
        self._task = asyncio.create_task(self._send_on())

    async def stop(self) -> list[Chat]:
        """All that it has sent, the oldest first."""
        self._stop = True
        return await self._task

    async def _send_on(self) -> list[Chat]:
        sent: list[Chat] = []
        while not self._stop:
            message = f"{HUSH} {len(sent)}"
            sent.append(await send_surely(self._device, self._receiver, message))
            await asyncio.sleep(PAUSE / 20)
        return sent


class Reader:
    """Follows its user's inbox, however often it reconnects.

    At every connection it asks for what it may have missed, as applications
    do; what comes both ways counts once.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._known: dict[str, Chat] = {}
        self._looked_at: Counter[str] = Counter()
        """How much of what came with each event is known."""
        self._task = asyncio.create_task(self._read_on())

    async def stop(self, count: int) -> list[Chat]:
        """Wait until it knows so many chats; all that it knows then."""
        try:
            await until(lambda: len(self.known()) >= count)
        finally:
            self.leave()
        return list(self.known().values())

    def leave(self) -> None:
        """Ask for nothing more."""
        self._task.cancel()

    def known(self) -> dict[str, Chat]:
        """Every chat that it has been told of so far, by its id."""
        lists = self._news("unreceived messages")
        chats = [chat for listed in lists for chat in listed] + self._news("message")
        self._known.update({chat["id"]: chat for chat in chats})
        return self._known

    def _news(self, event: str) -> list[Any]:
        news = self.device.received(event)[self._looked_at[event] :]
        self._looked_at[event] += len(news)
        return news

    async def _read_on(self) -> None:
        connections = 0
        while True:
            connections += 1
            await self.device.wait("connect", connections, patience=360 * PATIENCE)
            with suppress(socketio.exceptions.SocketIOError):  # it has been cut off meanwhile
                await self.device.emit("unreceived messages")
