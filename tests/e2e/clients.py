"""The official Python client, with a memory of everything that it was sent."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import socketio
from engineio.payload import Payload

from .server import HUSH, PATIENCE, Entrance, new_user

Chat: TypeAlias = dict[str, Any]
Auth: TypeAlias = Mapping[str, Any] | Callable[[], Mapping[str, Any]]

CHAT_KEYS = {"id", "sender", "receiver", "message", "createdAt", "received"}

# The client takes a poll that brings more than 16 packets for an attack, and hangs up. That is its
# own idea; its documentation names this as the way to change it.
Payload.max_decode_packets = 1_000_000


class Device:
    """One connection of one user."""

    def __init__(
        self,
        server: Entrance,
        user: str | None = None,
        transports: list[str] | None = None,
        *,
        reconnection: bool = False,
        receipts: bool = False,
    ) -> None:
        """``transports``: those to use, in that order; None is the client's own choice.

        ``receipts``: it asks to be told when what its user sent is received.
        """
        self.user = user or new_user()
        self._server = server
        self._transports = transports
        self._receipts = receipts
        self._received: dict[str, list[Any]] = {}
        self.live: list[list[Chat]] = []
        """The messages that were pushed to it: a list for each of its connections."""
        self._changed = asyncio.Event()
        self._sio = socketio.AsyncClient(
            reconnection=reconnection,
            reconnection_delay=0.1,
            reconnection_delay_max=0.2,
            randomization_factor=0,
            handle_sigint=False,
            # Its own limit of 4 MB would be met by a long list of long messages.
            websocket_extra_options={"max_msg_size": 0},
        )
        self._sio.on("*", self._record)
        for event in ("connect", "disconnect", "connect_error"):
            self._sio.on(event, self._recorder(event))

    # -- the connection

    async def connect(
        self, auth: Auth | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Connect; with a token of the user's if nothing else is said.

        Raises socketio.exceptions.ConnectionError if the server refuses.
        """
        if auth is None and headers is None:
            wish = {"receipts": True} if self._receipts else {}
            auth = {"token": self._server.token(self.user), **wish}
        await self._sio.connect(
            self._server.url,
            auth=auth,
            headers=dict(headers or {}),
            transports=self._transports,
            wait_timeout=PATIENCE,
        )

    async def refused(
        self, auth: Auth | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Try to connect; what ``connect_error`` told when the server refused."""
        try:
            await self.connect(auth, headers)
        except socketio.exceptions.ConnectionError:
            (error,) = self.received("connect_error")
            assert not self.received("connect")
            return error
        raise AssertionError("the server accepted the connection")

    async def disconnect(self) -> None:
        """Leave, or give up to reconnect."""
        await self._sio.shutdown()
        await self._sio.eio.disconnect()

    @property
    def transport(self) -> str:
        """Which transport is in use."""
        name: str = self._sio.transport()
        return name

    # -- what it sends

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event without asking for an acknowledgement."""
        await self._sio.emit(event, args)

    async def request(self, event: str, *args: Any) -> asyncio.Future[Any]:
        """Emit an event; the future is its acknowledgement."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(answer: Any) -> None:
            if not future.done():  # somebody may have given up waiting
                future.set_result(answer)

        await self._sio.emit(event, args, callback=answered)
        return future

    async def call(self, event: str, *args: Any, patience: float = PATIENCE) -> Any:
        """Emit an event and wait for its acknowledgement."""
        answer = await self.request(event, *args)
        async with asyncio.timeout(patience):
            return await answer

    async def send(self, receiver: str, message: str = HUSH, **more: str) -> Chat:
        """Send a message, which must succeed; the chat that was acknowledged."""
        chat = await self.call("send message", {"receiver": receiver, "message": message, **more})
        assert chat.keys() == CHAT_KEYS, chat
        return dict(chat)

    async def send_all(self, receiver: str, messages: list[str]) -> list[Chat]:
        """Send messages in one burst, which all must succeed; the acknowledged chats."""
        futures = [
            await self.request("send message", {"receiver": receiver, "message": message})
            for message in messages
        ]
        async with asyncio.timeout(3 * PATIENCE):
            chats = [await future for future in futures]
        assert all(chat.keys() == CHAT_KEYS for chat in chats)
        return chats

    async def mark_received(self, chat: Chat) -> Any:
        """Mark a chat received; the acknowledgement."""
        return await self.call("receive message", {"chatId": chat["id"]})

    async def receive(self, chat: Chat) -> None:
        """Wait until a chat arrives, and mark it received."""
        while chat not in self.received("message"):
            await self.wait("message", len(self.received("message")) + 1)
        assert await self.mark_received(chat) == {"chatId": chat["id"], "received": True}

    async def delivered(self, receiver: str, chats: Sequence[Chat]) -> list[str]:
        """The ids of those of the chats that ``receiver`` has received."""
        question = {"receiver": receiver, "chatIds": [chat["id"] for chat in chats]}
        ids: list[str] = await self._list("delivery", question)
        return ids

    async def unreceived(self, **query: Any) -> list[Chat]:
        """What hasn't been marked received."""
        chats: list[Chat] = await self._list("unreceived messages", query)
        return chats

    async def everything(self, **query: Any) -> dict[str, list[Chat]]:
        """All that was sent to this user, by sender."""
        chats: dict[str, list[Chat]] = await self._list("all messages", query)
        return chats

    # -- what it gets

    def received(self, event: str) -> list[Any]:
        """What came with that event so far, oldest first."""
        return self._received.setdefault(event, [])

    @property
    def heard(self) -> set[str]:
        """The names of all events that came so far."""
        return {event for event, received in self._received.items() if received}

    async def wait(self, event: str, count: int = 1, patience: float = PATIENCE) -> list[Any]:
        """Wait until an event has come ``count`` times, and return what came with it."""
        received = self.received(event)
        async with asyncio.timeout(patience):
            while len(received) < count:
                self._changed.clear()
                await self._changed.wait()
        return received

    @property
    def undisturbed(self) -> bool:
        """True if it has connected once, and has not been disconnected since."""
        return len(self.received("connect")) == 1 and not self.received("disconnect")

    async def settle(self) -> None:
        """Wait until all that its node has sent so far is here: it is sent in order.

        What comes from another node may still be on its way to this one.
        """
        assert await self.call("ping") == "Hello World!"

    # -- within

    async def _list(self, event: str, query: Mapping[str, Any]) -> Any:
        """The list as the event brings it, which must be as it is acknowledged."""
        count = len(self.received(event))
        acknowledged = await self.call(event, *([query] if query else []), patience=3 * PATIENCE)
        assert (await self.wait(event, count + 1))[-1] == acknowledged
        return acknowledged

    def _recorder(self, event: str) -> Callable[..., None]:
        return lambda *args: self._record(event, *args)

    def _record(self, event: str, *args: Any) -> None:
        self.received(event).append(args[0] if args else None)
        if event == "connect":
            self.live.append([])
        elif event == "message":
            self.live[-1].append(args[0])
        self._changed.set()


class Devices:
    """Makes devices, and disconnects them all in the end."""

    def __init__(self) -> None:
        self._made: list[Device] = []

    def make(
        self,
        server: Entrance,
        user: str | None = None,
        transports: list[str] | None = None,
        *,
        reconnection: bool = False,
        receipts: bool = False,
    ) -> Device:
        """A device that is not connected yet."""
        device = Device(server, user, transports, reconnection=reconnection, receipts=receipts)
        self._made.append(device)
        return device

    async def connect(
        self,
        server: Entrance,
        user: str | None = None,
        transports: list[str] | None = None,
        *,
        reconnection: bool = False,
        receipts: bool = False,
    ) -> Device:
        """A connected device of ``user``, or of somebody new."""
        device = self.make(server, user, transports, reconnection=reconnection, receipts=receipts)
        await device.connect()
        return device

    async def disconnect(self) -> None:
        """Disconnect all."""
        for device in self._made:
            await device.disconnect()


@asynccontextmanager
async def devices_of_a_test() -> AsyncIterator[Devices]:
    """Devices that are gone when the test is over."""
    devices = Devices()
    try:
        yield devices
    finally:
        await devices.disconnect()
        del devices
        gc.collect()  # here, and not in the midst of some other test


def mark_as_careless(items: list[pytest.Item], folder: Path) -> None:
    """Let the tests of a folder pass although this client is careless.

    It drops answers to its polls unread when their status tells it to hang up.
    """
    careless = pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning")
    for item in items:
        if item.path.is_relative_to(folder):
            item.add_marker(careless)


def texts(chats: list[Chat]) -> list[str]:
    """What the chats say."""
    return [chat["message"] for chat in chats]


def numbered(count: int, who: str = "") -> list[str]:
    """Messages that tell by themselves which they are."""
    return [f"{HUSH} {who} {number}" for number in range(count)]
