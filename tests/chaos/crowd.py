"""People who write to one another, and remember what they sent and what their devices showed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

import socketio.exceptions

from tests.cluster.conversation import PAUSE, Reader, send_surely, until
from tests.e2e.clients import Device, Devices
from tests.e2e.server import HUSH, Entrance, new_user

from .evidence import Inboxes, Message, Record, Seen
from .form import FORM

Transports: TypeAlias = Sequence[list[str] | None]

ALL: Final[Transports] = (["websocket"], ["polling"], None)
"""None is polling, then WebSocket."""
WEBSOCKETS: Final[Transports] = (["websocket"], None)
RECEIVERS: Final = 3
_LATELY: Final = 200
"""Messages that are looked at to see whether some arrive."""
_WAIT: Final = 1.0
"""Seconds in which one who doesn't send again waits for the acknowledgements of a burst."""


class Counts(NamedTuple):
    """How much there was of everything."""

    sent: int
    acknowledged: int
    shown: int
    """Messages that were pushed, each to several devices."""
    devices: int
    stayed: int
    """Devices that were never disconnected."""


class Writer:
    """Sends numbered messages to one receiver, each again and again until it is acknowledged."""

    surely: ClassVar[bool] = True
    pause: ClassVar[float] = PAUSE / 10
    """Seconds."""

    def __init__(self, device: Device, receiver: str) -> None:
        self.device = device
        self.record = Record(device.user, receiver, self.surely)
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

    def check(self) -> None:
        """Raise what it has failed with, if it has."""
        if self._task.done():
            self._task.result()

    async def _write_on(self) -> None:
        while not self._stop:
            await self._write()
            await asyncio.sleep(self.pause)

    async def _write(self) -> None:
        chat = await send_surely(self.device, self.record.receiver, self._next())
        self.record.acknowledged.append(chat)

    def _next(self) -> str:
        record = self.record
        text = f"{HUSH} {record.sender} {record.receiver} {len(record.tried)}"
        connection = len(self.device.received("connect"))
        record.tried.append(Message(text, connection, asyncio.get_running_loop().time()))
        return text


class HastyWriter(Writer):
    """Sends bursts, without ids of its own, and nothing twice: what fails may be lost."""

    surely = False
    pause = PAUSE

    async def _write(self) -> None:
        answers: list[asyncio.Future[Any]] = []
        with suppress(socketio.exceptions.SocketIOError):  # it isn't connected
            for _ in range(FORM.burst):
                draft = {"receiver": self.record.receiver, "message": self._next()}
                answer = await self.device.request("send message", draft)
                answer.add_done_callback(self._heard)
                answers.append(answer)
        if answers:
            await asyncio.wait(answers, timeout=_WAIT)

    def _heard(self, answer: asyncio.Future[Any]) -> None:
        if not answer.cancelled() and "error" not in answer.result():
            self.record.acknowledged.append(answer.result())


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
                how = transports[turn % len(transports)] if kind is Writer else ["websocket"]
                device = await devices.connect(place, transports=how, reconnection=True)
                crowd.writers.append(kind(device, user))
        return crowd

    @property
    def records(self) -> list[Record]:
        """What was sent."""
        return [writer.record for writer in self.writers]

    @property
    def users(self) -> list[str]:
        """To whom it was sent."""
        return sorted({record.receiver for record in self.records})

    def at(self, place: Entrance) -> list[Reader]:
        """The devices that connect at one of the places."""
        return self._at[place]

    async def flows(self, since: float = 0.0) -> None:
        """Wait until of each writer's messages one that was tried ``since`` is known everywhere.

        That is, to the writer as stored, and to each device of its receiver.
        """
        waiting = list(self.writers)
        async with asyncio.timeout(FORM.patience):
            while waiting:
                waiting = [each for each in waiting if not self._flows(each.record, since)]
                for writer in self.writers:
                    writer.check()
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

    async def seen(self, reader: Reader, inboxes: Inboxes) -> Seen:
        """What a device was shown, as soon as nothing is missing and nothing on its way."""
        device = reader.device
        count = len(inboxes[device.user])
        await until(lambda: len(reader.known()) >= count)
        await _settled(device)
        live = [[chat["id"] for chat in chats] for chats in device.live]
        return Seen(live, set(reader.known()), device.undisturbed)

    def count(self) -> Counts:
        """For the report."""
        return Counts(
            sent=sum(len(record.tried) for record in self.records),
            acknowledged=sum(len(record.acknowledged) for record in self.records),
            shown=sum(len(chats) for reader in self.readers for chats in reader.device.live),
            devices=len(self.readers),
            stayed=sum(reader.device.undisturbed for reader in self.readers),
        )

    def _flows(self, record: Record, since: float) -> bool:
        lately = {message.text for message in record.tried[-_LATELY:] if message.since >= since}
        ids = [each["id"] for each in record.acknowledged[-_LATELY:] if each["message"] in lately]
        readers = [each for each in self.readers if each.device.user == record.receiver]
        return any(all(chat in reader.known() for reader in readers) for chat in ids)


async def _settled(device: Device) -> None:
    """Wait until all that the server has sent is here; one that is cut off comes back first.

    Python's client learns of a failed POST only by a heartbeat, and sends nothing more until then.
    """
    async with asyncio.timeout(FORM.patience):
        while True:
            with suppress(TimeoutError, socketio.exceptions.SocketIOError):
                await device.settle()
                return
            await asyncio.sleep(PAUSE)
