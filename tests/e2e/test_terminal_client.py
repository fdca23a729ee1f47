"""The terminal's client at real servers, which stop, die and refuse."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websocket_server

from parley.model import Chat, ChatId, UserId
from parley.terminal.client import Client, Draft
from parley.terminal.errors import Failure, Lost, Refused
from tests.services.proxy import Proxy

from .clients import Devices, numbered, texts
from .conftest import StartServer
from .server import HUSH, PATIENCE, ChatServer, new_user

T = TypeVar("T")


class Recorder:
    """Remembers what a client told, and lets tests wait for it."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.sent: list[Draft] = []
        self.failures: list[tuple[Draft, Failure]] = []
        self.received: list[ChatId] = []
        self.chats: list[Chat] = []
        self._changed = asyncio.Event()

    def connected(self) -> None:
        self._add(self.states, "connected")

    def disconnected(self, why: str) -> None:
        self._add(self.states, why)

    def stored(self, draft: Draft) -> None:
        self._add(self.sent, draft)

    def postponed(self, failure: Failure) -> None:
        self._add(self.states, failure.message)

    def failed(self, draft: Draft, failure: Failure) -> None:
        self._add(self.failures, (draft, failure))

    def delivered(self, chat_ids: Sequence[ChatId]) -> None:
        for chat_id in chat_ids:
            self._add(self.received, chat_id)

    def came(self, chat: Chat) -> None:
        self._add(self.chats, chat)

    async def wait(self, done: Callable[[], bool]) -> None:
        """Wait until something that was told makes ``done`` true."""
        async with asyncio.timeout(3 * PATIENCE):
            while not done():
                self._changed.clear()
                await self._changed.wait()

    def _add(self, memory: list[T], item: T) -> None:
        memory.append(item)
        self._changed.set()


class Somebody:
    """A user with a client."""

    def __init__(
        self,
        server: ChatServer,
        token: Callable[[], str] | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        self.user = UserId(new_user())
        self.heard = Recorder()
        make_token = token or (lambda: server.token(self.user))
        url = server.url if proxy is None else f"http://127.0.0.1:{proxy.port}"
        self.client = Client(url, make_token, self.heard)

    async def during(self, work: Coroutine[Any, Any, T], *, patient: bool = False) -> T:
        return await self.client.during(work, patient=patient)

    def send(self, receiver: str, messages: list[str]) -> list[Draft]:
        return [self.client.send(UserId(receiver), message) for message in messages]


async def test_what_is_sent_is_stored_and_delivered_in_order(
    server: ChatServer, devices: Devices
) -> None:
    ann, bob = Somebody(server), await devices.connect(server)

    async def talk() -> None:
        drafts = ann.send(bob.user, numbered(50))
        await ann.client.settled()
        assert ann.heard.sent == drafts
        chats = await bob.wait("message", 50)
        assert [chat["id"] for chat in chats] == [draft.id for draft in drafts]
        assert texts(chats) == numbered(50)

    await ann.during(talk())


async def test_what_waited_is_shown_in_order_and_marked_received(
    server: ChatServer, devices: Devices
) -> None:
    ann, bob = await devices.connect(server), Somebody(server)
    await ann.send_all(bob.user, numbered(250, "before"))

    async def talk() -> None:
        live = asyncio.create_task(ann.send_all(bob.user, numbered(50, "after")))
        await bob.heard.wait(lambda: len(bob.heard.chats) >= 300)
        await live
        await bob.client.settled()

    await bob.during(talk())
    shown = [chat.message for chat in bob.heard.chats]
    assert shown == numbered(250, "before") + numbered(50, "after")
    assert await (await devices.connect(server, bob.user)).unreceived() == []


async def test_nothing_is_lost_or_doubled_when_the_server_dies(
    own_server: ChatServer, devices: Devices
) -> None:
    ann, bob = Somebody(own_server), Somebody(own_server)

    async def fail() -> None:
        ann.send(bob.user, numbered(300))
        await bob.heard.wait(lambda: len(bob.heard.chats) >= 20)
        own_server.kill()
        ann.send(bob.user, numbered(20, "meanwhile"))
        await ann.heard.wait(lambda: len(ann.heard.states) >= 2)
        assert ann.client.waiting
        await asyncio.to_thread(own_server.start)
        await bob.heard.wait(lambda: len(bob.heard.chats) >= 320)
        await ann.client.settled()
        await bob.client.settled()

    await ann.during(bob.during(fail()))
    written = numbered(300) + numbered(20, "meanwhile")
    assert [draft.message for draft in ann.heard.sent] == written
    assert [chat.message for chat in bob.heard.chats] == written
    device = await devices.connect(own_server, bob.user)
    assert texts((await device.everything())[ann.user]) == written
    assert await device.unreceived() == []


async def test_a_lost_answer_does_not_double_a_message(
    server: ChatServer, devices: Devices
) -> None:
    bob = await devices.connect(server)
    with Proxy(server.port) as proxy:
        ann = Somebody(server, proxy=proxy)

        async def talk() -> None:
            ann.send(bob.user, numbered(1))
            await ann.client.settled()
            proxy.cut_within_reply()
            ann.send(bob.user, numbered(3)[1:])
            await ann.client.settled()

        await ann.during(talk())
    assert len(ann.heard.states) == 3
    assert [draft.message for draft in ann.heard.sent] == numbered(3)
    assert texts(await bob.unreceived()) == numbered(3)


async def test_who_sent_it_is_told_that_it_was_received(server: ChatServer) -> None:
    ann, bob = Somebody(server), Somebody(server)

    async def talk() -> None:
        ann.send(bob.user, numbered(30))
        await ann.heard.wait(lambda: len(ann.heard.received) == 30)

    await ann.during(bob.during(talk()))
    assert ann.heard.received == [draft.id for draft in ann.heard.sent]


async def test_what_was_received_meanwhile_is_asked_for(
    server: ChatServer, devices: Devices
) -> None:
    bob = await devices.connect(server)
    with Proxy(server.port) as proxy:
        ann = Somebody(server, proxy=proxy)

        async def talk() -> None:
            ann.send(bob.user, numbered(150))
            await ann.client.settled()
            proxy.pause()
            proxy.cut()
            await ann.heard.wait(lambda: len(ann.heard.states) == 2)
            for chat in await bob.wait("message", 150):
                await bob.mark_received(chat)
            proxy.resume()
            await ann.heard.wait(lambda: len(ann.heard.received) == 150)

        await ann.during(talk())
    assert ann.heard.received == [draft.id for draft in ann.heard.sent]


async def test_a_server_that_stops_says_so(own_server: ChatServer) -> None:
    ann = Somebody(own_server)

    async def stop() -> None:
        await ann.heard.wait(lambda: bool(ann.heard.states))
        await asyncio.to_thread(own_server.stop)
        await ann.heard.wait(lambda: len(ann.heard.states) >= 3)

    await ann.during(stop())
    assert ann.heard.states[:3] == ["connected", "server shutting down", "nothing listens there"]


async def test_what_cannot_be_stored_is_told_and_holds_up_nothing(server: ChatServer) -> None:
    ann = Somebody(server)
    long, huge = HUSH * 5_000, HUSH * 500_000

    async def talk() -> None:
        ann.send(new_user(), [long, huge, HUSH])
        await ann.client.settled()

    await ann.during(talk())
    assert [(draft.message, failure.code) for draft, failure in ann.heard.failures] == [
        (long, "bad_request"),
        (huge, "too_large"),
    ]
    assert [draft.message for draft in ann.heard.sent] == [HUSH]
    assert ann.heard.states == ["connected"]


async def test_halves_of_characters_are_sent_as_question_marks(server: ChatServer) -> None:
    ann = Somebody(server)

    async def talk() -> None:
        ann.send(ann.user, [f"{HUSH} \ud800"])
        await ann.heard.wait(lambda: bool(ann.heard.chats))

    await ann.during(talk())
    assert [chat.message for chat in ann.heard.chats] == [f"{HUSH} ?"]


async def test_an_expired_token_is_followed_by_a_fresh_one(server: ChatServer) -> None:
    tokens = iter([server.token(user := new_user(), exp=time.time() + 1.5), server.token(user)])
    ann = Somebody(server, lambda: next(tokens))

    async def talk() -> None:
        await ann.heard.wait(lambda: len(ann.heard.states) >= 3)

    await ann.during(talk())
    assert ann.heard.states == [
        "connected",
        "The token has expired: connect with a new one",
        "connected",
    ]


async def test_a_refused_token_ends_it(server: ChatServer) -> None:
    ann = Somebody(server, lambda: "nonsense")

    with pytest.raises(Refused, match="The token was refused: it is not a JSON Web Token"):
        await ann.during(asyncio.sleep(3 * PATIENCE), patient=True)


async def test_a_server_that_is_not_there(own_server: ChatServer) -> None:
    own_server.stop()

    with pytest.raises(Lost, match="nothing listens there"):
        await Somebody(own_server).during(asyncio.sleep(3 * PATIENCE))


async def test_patience_with_a_server_that_is_not_there_yet(own_server: ChatServer) -> None:
    own_server.stop()
    ann = Somebody(own_server)

    async def start() -> None:
        ann.send(new_user(), [HUSH])
        await ann.heard.wait(lambda: bool(ann.heard.states))
        await asyncio.to_thread(own_server.start)
        await ann.client.settled()

    await ann.during(start(), patient=True)
    assert ann.heard.states[0] == "nothing listens there"
    assert len(ann.heard.sent) == 1


async def test_heartbeats_are_answered(start_server: StartServer) -> None:
    ann = Somebody(start_server(PING_INTERVAL="1", PING_TIMEOUT="2"))

    await ann.during(asyncio.sleep(4))  # longer than silence is borne with
    assert ann.heard.states == ["connected"]


async def test_something_else_is_there() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with other:
        port = other.sockets[0].getsockname()[1]
        client = Client(f"http://127.0.0.1:{port}", str, Recorder())
        with pytest.raises(Lost, match="what is there answers with HTTP status 404"):
            await client.during(asyncio.sleep(PATIENCE), patient=False)


async def test_a_receipt_may_overtake_the_answer_to_the_sender() -> None:
    # No real server can be made to be so quick every time.
    async def serve(websocket: ServerConnection) -> None:
        await websocket.send('0{"sid":"x","pingInterval":25000,"pingTimeout":20000}')
        await websocket.recv()
        await websocket.send('40{"sid":"y"}')
        async for frame in websocket:
            [(number, asked)] = re.findall(r"^42(\d+)(.*)$", str(frame)) or [("", "[0]")]
            event, *data = msgspec.json.decode(asked)
            if event == "unreceived messages":
                await websocket.send(f"43{number}[[]]")
            elif event == "send message":
                [draft] = data
                chat = {**draft, "sender": user, "createdAt": 0, "received": False}
                await websocket.send(f'42["received",{{"chatId":"{draft["id"]}"}}]')
                await websocket.send(f"43{number}[{msgspec.json.encode(chat).decode()}]")

    async def talk() -> None:
        drafts = [client.send(UserId(new_user()), HUSH) for _ in range(3)]
        await heard.wait(lambda: len(heard.received) == 3)
        assert heard.sent == drafts
        assert heard.received == [draft.id for draft in drafts]

    user, heard = new_user(), Recorder()
    async with websocket_server(serve, "127.0.0.1", 0) as server:
        client = Client(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", str, heard)
        await client.during(talk(), patient=False)


async def test_who_is_told_to_wait_waits_and_sends_again_in_order(
    start_server: StartServer, devices: Devices
) -> None:
    server = start_server(
        RATE_CONNECTION_EVENTS="20", RATE_CONNECTION_BURST="20", RATE_PATIENCE="0.5"
    )
    ann, bob = Somebody(server), await devices.connect(server)

    async def talk() -> None:
        ann.send(bob.user, numbered(80))
        await ann.client.settled()

    await ann.during(talk())
    assert texts(await bob.wait("message", 80)) == numbered(80)
    first, *later = ann.heard.states
    assert first == "connected"
    assert later
    assert all("You send too much" in state for state in later)  # why it waits; never "offline"
    assert ann.heard.failures == []
    assert server.metrics()['parley_errors_total{code="rate_limited"}'] > 0


async def test_a_long_history_is_read_and_marked_however_little_is_allowed(
    start_server: StartServer, devices: Devices
) -> None:
    server = start_server(
        RATE_CONNECTION_EVENTS="200", RATE_CONNECTION_BURST="30", RATE_PATIENCE="0.2"
    )
    bob = Somebody(server)
    for start in range(0, 240, 20):  # each sender keeps within the burst
        sender = await devices.connect(server)
        await sender.send_all(bob.user, numbered(240)[start : start + 20])

    async def read() -> None:
        await bob.heard.wait(lambda: len(bob.heard.chats) >= 240)
        await bob.client.settled()

    await bob.during(read())
    assert [chat.message for chat in bob.heard.chats] == numbered(240)
    assert await (await devices.connect(server, bob.user)).unreceived() == []
