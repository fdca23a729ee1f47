"""What clients do, a round at a time: each path goes through the real code."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

from parley.bus.redis_payload import PayloadFormat
from parley.chat.ports import NewChat
from parley.gateway import encode_message
from parley.model import Chat, ChatId, UserId
from tests.performance.clients import Client, event, frames
from tests.performance.nodes import REDIS_PREFIX, Node, users

BATCH: Final = 100
CONNECTIONS: Final = 20
_TEXT: Final = "x" * 100
_NOW: Final = 1_760_000_000_123
_USERS: Final = users()


class Path(Protocol):
    """A path to be measured.  Calls don't overlap."""

    @property
    def size(self) -> int:
        """Messages, or connections, of a round."""

    async def prepare(self) -> None:
        """Make what the next round takes; not measured."""

    async def run(self) -> int:
        """One round; returns the most writes that one connection got."""


class Sending:
    """One client sends to a user on the same node."""

    size = BATCH

    def __init__(self, node: Node, data: bytes, sender: Client, answered: Sequence[Client]) -> None:
        self._node, self._data, self._sender, self._answered = node, data, sender, answered

    @classmethod
    async def open(cls, node: Node, *, ack: bool = False, devices: int = 1) -> Sending:
        """``ack``: the sender asks for acknowledgements; ``devices``: those of the receiver."""
        receiver = next(_USERS)
        draft = {"receiver": receiver, "message": _TEXT}
        packets = (event("send message", draft, i if ack else None) for i in range(BATCH))
        sender = await node.connected(next(_USERS))
        answered = [await node.connected(receiver) for _ in range(devices)]
        return cls(node, frames(packets), sender, [*answered, sender] if ack else answered)

    async def prepare(self) -> None:
        pass

    async def run(self) -> int:
        arrivals = [client.wire.expect(BATCH) for client in self._answered]
        self._sender.say(self._data)
        writes = await _all(arrivals, self._answered)
        await self._node.heard()
        return writes


class Receiving:
    """A client marks chats received; it asks for an acknowledgement of the last one."""

    size = BATCH

    def __init__(self, node: Node, client: Client, user: UserId, sender: UserId) -> None:
        self._node, self._client, self._user, self._sender = node, client, user, sender
        self._told: list[Client] = []
        """The sender's devices."""
        self._data = b""

    @classmethod
    async def open(cls, node: Node, *, told: bool = False) -> Receiving:
        """``told``: the sender of all chats has a device that is told of it."""
        user, sender = next(_USERS), next(_USERS)
        receiving = cls(node, await node.connected(user), user, sender)
        if told:
            receiving._told.append(await node.connected(sender, receipts=True))
        return receiving

    async def prepare(self) -> None:
        chats = _new_chats(self._user, self._sender)
        await self._node.store.commit(chats, [])
        marks: Iterator[dict[str, str]] = ({"chatId": chat.id} for chat in chats)
        acks = [None] * (BATCH - 1) + [1]
        self._data = frames(map(event, ["receive message"] * BATCH, marks, acks))

    async def run(self) -> int:
        answered = [self._client.wire.expect(1)]
        answered += [device.wire.expect(BATCH) for device in self._told]
        self._client.say(self._data)
        return await _all(answered, [self._client, *self._told])


class Storing:
    """A store commits chats to one user."""

    size = BATCH

    def __init__(self, node: Node) -> None:
        self._store = node.store
        self._user = next(_USERS)
        self._chats: list[NewChat] = []

    async def prepare(self) -> None:
        self._chats = _new_chats(self._user)

    async def run(self) -> int:
        await self._store.commit(self._chats, [])
        return 0


class Connecting:
    """Clients of as many users connect, all at once."""

    size = CONNECTIONS

    def __init__(self, node: Node) -> None:
        self._node = node
        self._clients: list[Client] = []

    async def prepare(self) -> None:
        for client in self._clients:
            client.leave()
        self._clients = [self._node.client(next(_USERS)) for _ in range(CONNECTIONS)]

    async def run(self) -> int:
        opened = [client.connect() for client in self._clients]
        return await _all(opened, self._clients)


class FromRedis:
    """Messages to a user come from another node, in one read."""

    size = BATCH

    def __init__(
        self, publish: asyncio.WriteTransport, channel: bytes, user: UserId, device: Client
    ) -> None:
        self._publish, self._channel, self._device = publish, channel, device
        self._payload = PayloadFormat()
        chat = _new_chats(user)[0]
        self._packet = encode_message(
            Chat(chat.id, chat.sender, user, chat.message, chat.created_at, False)
        )
        self._seqs = itertools.count(1)
        self._data = b""

    @classmethod
    @asynccontextmanager
    async def open(cls, node: Node, redis_port: int) -> AsyncIterator[FromRedis]:
        user = next(_USERS)
        device = await node.connected(user)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", redis_port)
        try:
            yield cls(transport, f"{REDIS_PREFIX}0:inbox:{user}".encode(), user, device)
        finally:
            transport.abort()

    async def prepare(self) -> None:
        publishes = [
            _command(b"PUBLISH", self._channel, self._payload.head(next(self._seqs)) + self._packet)
            for _ in range(BATCH)
        ]
        # Redis passes on what a transaction publishes in one piece.
        self._data = b"".join([_command(b"MULTI"), *publishes, _command(b"EXEC")])

    async def run(self) -> int:
        arrived = self._device.wire.expect(BATCH)
        self._publish.write(self._data)
        return await _all([arrived], [self._device])


async def _all(arrivals: Sequence[asyncio.Future[None]], clients: Sequence[Client]) -> int:
    for arrival in arrivals:
        await arrival
    return max(client.wire.written for client in clients)


def _new_chats(receiver: UserId, sender: UserId | None = None) -> list[NewChat]:
    sender = sender or next(_USERS)
    return [NewChat(ChatId(str(uuid.uuid4())), sender, receiver, _TEXT, _NOW) for _ in range(BATCH)]


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)
