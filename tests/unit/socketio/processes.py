"""Several processes that serve the same clients, within one.  What joins them may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from parley.socketio.events import Event
from parley.socketio.namespaces import Socket
from parley.socketio.options import Options
from parley.socketio.peer_server import PeerServer
from parley.socketio.peers import (
    MovedSession,
    PeerGone,
    Peers,
    PeerUnreachable,
    Poll,
    PollAnswer,
    node_of,
)
from parley.socketio.protocol import CloseReason
from parley.socketio.server import Server

from . import WebSocketClient, settle
from .test_polling import PollingClient

T = TypeVar("T")

A, B, C = "aaaaaaaa", "bbbbbbbb", "cccccccc"
"""Names of processes."""


class Links:
    """The ``Peers`` of every process: it brings each call to where the session is.

    All that is said goes through the wire format.  A call may be made to wait
    or to fail, on its way there and on its way back.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        """The names of all calls so far."""
        self.errors: dict[str, Exception] = {}
        """By name of a call: what it fails with, before it gets there."""
        self.lost: dict[str, Exception] = {}
        """Likewise, after it was served."""
        self.gates: dict[str, asyncio.Event] = {}
        """By name of a call: what it waits for, on its way there."""
        self.back: dict[str, asyncio.Event] = {}
        """Likewise, on its way back."""
        self._nodes: dict[str, Peers] = {}
        self._serving: set[asyncio.Future[Any]] = set()

    def join(self, name: str, served: Peers) -> None:
        self._nodes[name] = served

    def leave(self, name: str) -> None:
        """The process ends."""
        del self._nodes[name]

    def cut(self) -> None:
        """All calls that are being served lose their callers."""
        for served in self._serving:
            served.cancel()

    async def poll(self, request: Poll) -> PollAnswer:
        sent = _over_the_wire(request)
        answer = await self._call("poll", request.sid, lambda node: node.poll(sent))
        return _over_the_wire(answer)

    async def end_poll(self, sid: str) -> None:
        await self._call("end_poll", sid, lambda node: node.end_poll(sid))

    async def begin_upgrade(self, sid: str) -> None:
        await self._call("begin_upgrade", sid, lambda node: node.begin_upgrade(sid))

    async def abandon_upgrade(self, sid: str) -> None:
        await self._call("abandon_upgrade", sid, lambda node: node.abandon_upgrade(sid))

    async def take_over(self, sid: str) -> MovedSession:
        return _over_the_wire(await self._call("take_over", sid, lambda node: node.take_over(sid)))

    async def _call(
        self, name: str, sid: str, serve: Callable[[Peers], Coroutine[Any, Any, T]]
    ) -> T:
        self.calls.append(name)
        if name in self.gates:
            await self.gates[name].wait()
        if name in self.errors:
            raise self.errors[name]
        if node_of(sid) not in self._nodes:
            raise PeerGone
        served = asyncio.ensure_future(serve(self._nodes[node_of(sid)]))
        self._serving.add(served)
        served.add_done_callback(self._serving.discard)
        try:
            await asyncio.wait((served,))
        finally:
            served.cancel()
        if served.cancelled():
            raise PeerUnreachable
        answer = served.result()
        if name in self.back:
            await self.back[name].wait()
        if name in self.lost:
            raise self.lost[name]
        return answer


def _over_the_wire(said: T) -> T:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=type(said))


class Process:
    """A Socket.IO server whose sockets may move, and what became of them."""

    def __init__(self, links: Links, name: str, **options: float) -> None:
        bounds = msgspec.convert({"connect_timeout": 1000.0, **options}, Options)
        self.server = Server(bounds, node=name, peers=links)
        self.engine = self.server.engine
        self.namespace = self.server.namespace()
        links.join(name, PeerServer(self.engine))
        self.events: list[list[Any]] = []
        """The arguments of each that came here."""
        self.left: list[CloseReason] = []
        self.restored: list[bytes] = []
        self.restoring: Callable[[Socket], Awaitable[object]] | None = None
        """What there is to do when a socket comes here."""
        self.namespace.on("event")(self._take)
        self.namespace.on_connect(self._connected)
        self.namespace.on_disconnect(lambda socket, reason: self.left.append(reason))
        self.namespace.on_move(lambda socket: bytes(socket.data), self._restore)

    def _take(self, socket: Socket, event: Event) -> None:
        self.events.append(event.args())
        event.ack("done")

    def _connected(self, socket: Socket, auth: dict[str, Any]) -> None:
        socket.data = socket.id.encode()

    async def _restore(self, socket: Socket, data: bytes) -> None:
        assert socket.session.sid in self.engine.sessions
        self.restored.append(data)
        if self.restoring is not None:
            await self.restoring(socket)
        socket.data = data

    @property
    def socket(self) -> Socket:
        """The only one that is here."""
        (socket,) = self.namespace.sockets.values()
        return socket


class Cluster:
    """Processes, and a client that has begun to poll the first one and has joined."""

    def __init__(self, **options: float) -> None:
        self.links = Links()
        self.a = Process(self.links, A, **options)
        self.b = Process(self.links, B, **options)
        self.c = Process(self.links, C, **options)
        self.client = PollingClient(self.a.engine)
        self.sid = ""
        self.socket_id = ""
        self.websocket = WebSocketClient(self.b.engine)
        """To the second process; it has not connected yet."""

    async def joined(self) -> Cluster:
        await self.opened()
        assert (await self.client.post(b"40")).status == 200
        self.socket_id = self.a.socket.id
        assert await self.client.poll() == b'40{"sid":"%s"}' % self.socket_id.encode()
        return self

    async def opened(self) -> Cluster:
        """A session, without any socket yet."""
        await self.client.open()
        assert self.client.sid is not None
        self.sid = self.client.sid
        return self

    def by(self, process: Process) -> PollingClient:
        """The client, whose requests reach ``process``."""
        client = PollingClient(process.engine)
        client.sid = self.sid
        return client

    async def probed(self) -> Cluster:
        """The WebSocket has been told that it may take over."""
        self.websocket.dial(sid=self.sid)
        self.websocket.say(b"2probe")
        await settle()
        assert self.websocket.packets() == [b"3probe"]
        return self

    async def moved(self) -> Cluster:
        """The session is on the WebSocket."""
        await self.probed()
        self.websocket.say(b"5")
        await settle()
        assert self.sid in self.b.engine.sessions
        return self

    async def still_polls(self) -> None:
        """Check that the session is what it was before anybody probed."""
        assert self.a.left == []
        assert self.a.socket.id == self.socket_id
        assert (await self.by(self.b).post(b'42["event","up"]')).status == 200
        assert self.a.events[-1] == ["up"]
        poll = self.by(self.c).request("GET")
        await asyncio.sleep(0.15)  # while an upgrade is under way, polls are answered sooner
        assert not poll.task.done(), "the poll isn't held any more"
        self.a.socket.emit("down")
        assert (await poll.answered()).body == b'42["down"]'
