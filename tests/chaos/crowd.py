"""People who write to one another, and remember what they sent and what their devices showed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeAlias

import socketio.exceptions

from tests.cluster.conversation import PAUSE, Reader, send_surely
from tests.e2e.clients import Chat, Device, Devices
from tests.e2e.server import HUSH, Entrance, new_user

from .form import FORM

Transports: TypeAlias = Sequence[list[str] | None]

ALL: Final[Transports] = (["websocket"], ["polling"], None)
"""None is polling, then WebSocket."""
WEBSOCKETS: Final[Transports] = (["websocket"], None)
RECEIVERS: Final = 3
_WAIT: Final = 1.0
"""Seconds in which one who doesn't send again waits for the acknowledgements of a burst."""


class Message(NamedTuple):
    """What somebody has tried to send."""

    text: str
    """No other message has it; the number at its end is the order."""
    connection: int
    """Which of the device's connections it was, from 1."""
    since: float
    """When it was tried first, in the loop's time."""


class Writer:
    """Sends numbered messages to one receiver, and remembers each, and each acknowledgement."""

    pause = PAUSE / 10
    in_order_throughout = True
    """One at a time, so that they are in order whatever happens; else so on each connection."""

    def __init__(self, device: Device, receiver: str) -> None:
        self.device = device
        self.receiver = receiver
        self.tried: list[Message] = []
        self.acknowledged: list[Chat] = []
        self._stop = False
        self._task = asyncio.create_task(self._write_on())

    async def stop(self) -> None:
        """Stop when the outcome of the last one is known, as far as it will be."""
        self._stop = True
        await self._task

    async def abandon(self) -> None:
        """Stop at once."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _write_on(self) -> None:
        while not self._stop:
            await self._write()
            await asyncio.sleep(self.pause)

    async def _write(self) -> None:
        """Send a message again and again until it is acknowledged, with one id."""
        self.acknowledged.append(await send_surely(self.device, self.receiver, self._next()))

    def _next(self) -> str:
        text = f"{HUSH} {self.device.user} {self.receiver} {len(self.tried)}"
        connection = len(self.device.received("connect"))
        self.tried.append(Message(text, connection, asyncio.get_running_loop().time()))
        return text


class HastyWriter(Writer):
    """Sends bursts, without ids of its own, and nothing twice: what fails may be lost."""

    pause = PAUSE
    in_order_throughout = False

    async def _write(self) -> None:
        answers: list[asyncio.Future[Any]] = []
        # Not connected: what it has tried is lost.
        with suppress(socketio.exceptions.SocketIOError):
            for _ in range(FORM.burst):
                draft = {"receiver": self.receiver, "message": self._next()}
                answer = await self.device.request("send message", draft)
                answer.add_done_callback(self._heard)
                answers.append(answer)
        if answers:
            await asyncio.wait(answers, timeout=_WAIT)

    def _heard(self, answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled() and "error" not in answer.result():
            self.acknowledged.append(answer.result())


class Crowd:
    """Writers, and the devices of those to whom they write."""

    def __init__(self) -> None:
        self.writers: list[Writer] = []
        self.readers: list[Reader] = []
        self._at: dict[Entrance, list[Reader]] = {}

    @classmethod
    async def gather(
        cls,
        entrances: Sequence[Entrance],
        others: Sequence[Entrance],
        transports: Transports,
        devices: Devices,
    ) -> Crowd:
        """Everybody connects and begins.

        Each receiver has a device at each of the ``entrances`` and ``others``; who writes does so
        at the ``entrances``.  The transports take turns.
        """
        crowd = cls()
        users = [new_user() for _ in range(RECEIVERS)]
        for turn, user in enumerate(users):
            for number, place in enumerate((*entrances, *others)):
                how = transports[(turn + number) % len(transports)]
                device = await devices.connect(place, user, how, reconnection=True)
                crowd._at.setdefault(place, []).append(Reader(device))
        crowd.readers = [reader for readers in crowd._at.values() for reader in readers]
        for number, place in enumerate(entrances):
            for turn, user in enumerate(users):
                kind = HastyWriter if (turn + number) % RECEIVERS == 0 else Writer
                how = transports[0 if kind is HastyWriter else turn % len(transports)]
                device = await devices.connect(place, transports=how, reconnection=True)
                crowd.writers.append(kind(device, user))
        return crowd

    def at(self, place: Entrance) -> list[Reader]:
        """The devices that connect at one of the places."""
        return self._at[place]

    async def flowing(self, since: float = 0.0) -> None:
        """Wait until each receiver's devices know of a message of each writer's tried ``since``."""
        waiting = list(self.writers)
        async with asyncio.timeout(FORM.patience):
            while waiting:
                waiting = [writer for writer in waiting if not self._flows(writer, since)]
                self.check()
                await asyncio.sleep(PAUSE / 5)

    async def stop(self) -> None:
        """Let each writer come to its end."""
        async with asyncio.timeout(FORM.patience):
            await asyncio.gather(*(writer.stop() for writer in self.writers))

    async def abandon(self) -> None:
        """Have everybody stop at once."""
        for writer in self.writers:
            await writer.abandon()
        for reader in self.readers:
            reader.leave()

    def check(self) -> None:
        """Raise what a writer has raised, if one has."""
        for writer in self.writers:
            if writer._task.done():
                writer._task.result()

    def of(self, user: str) -> list[Reader]:
        """The devices of a user."""
        return [reader for reader in self.readers if reader.device.user == user]

    def _flows(self, writer: Writer, since: float) -> bool:
        wanted = {chat["message"]: chat["id"] for chat in writer.acknowledged[-FORM.burst * 4 :]}
        new = [message.text for message in writer.tried if message.since >= since]
        return any(
            text in wanted and all(wanted[text] in each.known() for each in self.of(writer.receiver))
            for text in new[-FORM.burst * 4 :]
        )
