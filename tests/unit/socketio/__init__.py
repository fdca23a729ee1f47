"""What the tests of the Socket.IO layer share: a session's ends, and a loop that can't wait."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from websockets.frames import Close, Frame, Opcode

from parley.socketio.engine import Engine
from parley.socketio.events import Event
from parley.socketio.handshake import Handshake
from parley.socketio.limits import RateLimits
from parley.socketio.namespaces import Namespace, Socket
from parley.socketio.options import Options
from parley.socketio.protocol import CloseReason
from parley.socketio.server import Server
from parley.socketio.session import Session, State
from parley.socketio.websocket import websocket_protocol

T = TypeVar("T")

PATIENCE = 5
"""Seconds."""
HANDSHAKE = Handshake({"host": "parley.test"}, {"EIO": "4", "transport": "websocket"}, "192.0.2.1")


class Recorder:
    """An ``engine.Transport`` whose peer is the test.

    It keeps all that is sent, hands over what :meth:`arrive` brings, and reads
    on only as the session allows.
    """

    def __init__(self, name: str = "websocket") -> None:
        self.name = name
        self.writes: list[list[str | bytes]] = []
        """What each flush passed on: text as ``str``, binary as ``bytes``."""
        self._paused = False
        self.closed: list[CloseReason] = []
        """The reasons of all calls of close."""
        self.backlog: list[bytes] = []
        self.buffered = 0
        """Bytes that the network has not taken yet."""
        self._session: Session
        self._queued: list[str | bytes] = []

    @property
    def sent(self) -> list[str | bytes]:
        """All that was ever sent, written or not."""
        return [packet for write in self.writes for packet in write] + self._queued

    def take(self) -> list[str | bytes]:
        """All that was sent since the last call."""
        sent = self.sent
        self.writes.clear()
        self._queued.clear()
        return sent

    def reading(self) -> bool:
        """Whether more is read from the peer."""
        return not self._paused

    def arrive(self, *packets: bytes) -> None:
        """Text packets come in, in one read."""
        self.backlog += packets
        with self._session.engine.batch:
            self._hand_over()

    def _hand_over(self) -> None:
        while self.backlog and not self._session.paused:
            self._session.receive_text(self.backlog.pop(0))

    # -- engine.Transport

    def attach(self, session: Session) -> None:
        self._session = session

    def send_text(self, packet: bytes) -> None:
        self._queue(packet.decode())

    def send_binary(self, content: bytes) -> None:
        self._queue(content)

    def _queue(self, packet: str | bytes) -> None:
        assert not self.closed, "sent after the end"
        if not self._queued:
            self._session.engine.batch.add(self)
        self._queued.append(packet)

    def flush(self) -> None:
        if self._queued:
            self.writes.append(self._queued)
            self._queued = []

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._hand_over()
        session = self._session
        self._paused = session.paused or session.state is not State.OPEN

    def drained(self) -> bool:
        return not self.backlog

    def unsent(self) -> int:
        return self.buffered

    def close(self, reason: CloseReason) -> None:
        self.closed.append(reason)
        self.flush()


def _do_nothing() -> None:
    pass


class Told:
    """An ``engine.Handler`` that keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[str | bytes] = []
        self.excess: list[tuple[str, int]] = []
        """Messages to be refused, and for how many milliseconds."""
        self.on_message: Callable[[], None] = _do_nothing
        """Called after each text message."""
        self.closed: list[CloseReason] = []

    def on_text(self, message: bytes) -> None:
        self.messages.append(message.decode())
        self.on_message()

    def on_binary(self, message: bytes) -> None:
        self.messages.append(message)

    def on_excess(self, message: bytes, wait: int) -> None:
        self.excess.append((message.decode(), wait))

    def on_close(self, reason: CloseReason) -> None:
        self.closed.append(reason)


class Client:
    """A session with both of its ends."""

    def __init__(self, engine: Engine, transport_name: str = "websocket") -> None:
        self.transport = Recorder(transport_name)
        self.session: Session = engine.open(self.transport, HANDSHAKE)
        handler = self.session.handler
        assert isinstance(handler, Told)
        self.told = handler


def new_engine(**options: float) -> Engine:
    """An engine with bounds of the test's choice, whose handlers are :class:`Told`."""
    return Engine(msgspec.convert(options, Options), lambda session: Told())


def limiting_engine(limits: RateLimits, **options: float) -> Engine:
    """As :func:`new_engine`, with limits."""
    bounds = msgspec.structs.replace(msgspec.convert(options, Options), limits=limits)
    return Engine(bounds, lambda session: Told())


class Peer:
    """A client of a Socket.IO server, packet by packet."""

    def __init__(self, server: Server, handshake: Handshake = HANDSHAKE) -> None:
        self.transport = Recorder()
        self.session = server.engine.open(self.transport, handshake)

    def say(self, *packets: str) -> None:
        """Send Socket.IO packets, all in one read."""
        self.transport.arrive(*(b"4" + packet.encode() for packet in packets))

    def attach(self, *attachments: bytes) -> None:
        for attachment in attachments:
            self.session.receive_binary(attachment)

    def heard(self) -> list[str | bytes]:
        """The Socket.IO packets and attachments that came since the last call."""
        return [p[1:] if isinstance(p, str) else p for p in self.transport.take()]

    def joined(self, namespace: Namespace) -> Socket:
        """Join, where nothing stands against it."""
        before = set(namespace.sockets)
        self.say("0" if namespace.name == "/" else f"0{namespace.name},")
        (new,) = set(namespace.sockets) - before
        self.heard()
        return namespace.sockets[new]

    @property
    def ended(self) -> list[CloseReason]:
        """Why the connection ended, if it did."""
        return self.transport.closed


class Taken:
    """A peer that has joined, and what the handler of ``event`` took from it."""

    def __init__(self, options: Options | None = None, name: str = "/") -> None:
        self.server = Server(options or Options())
        self.namespace = self.server.namespace(name)
        self.events: list[tuple[str, list[Any]]] = []
        self.left: list[CloseReason] = []
        self.namespace.on("event")(self.take)
        self.namespace.on_disconnect(lambda socket, reason: self.left.append(reason))
        self.peer = Peer(self.server)
        self.socket = self.peer.joined(self.namespace)

    def take(self, socket: Socket, event: Event) -> None:
        assert socket is self.socket
        self.events.append((event.name, event.args()))


class Wire(asyncio.Transport):
    """A connection's transport, as an event loop gives it to a protocol."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 4321)})
        self.writes: list[bytes] = []
        self.aborted = False
        self.stuck = False
        """The peer takes no more: what was written keeps the connection from closing."""
        self.protocol: asyncio.Protocol
        self._reading = True
        self._closing = False
        self._lost = False

    def ended(self) -> bool:
        """Whether the connection is over."""
        return self._lost

    def lose(self, exc: Exception | None = None) -> None:
        """The connection ends, or is broken."""
        self._closing = True
        if not self._lost:
            self._lost = True
            self.protocol.connection_lost(exc)

    # -- asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._lost
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        if not self._closing and not self.stuck:
            asyncio.get_running_loop().call_soon(self.lose)
        self._closing = True

    def abort(self) -> None:
        self.aborted = self._closing = True
        asyncio.get_running_loop().call_soon(self.lose)

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        assert self._reading
        self._reading = False

    def resume_reading(self) -> None:
        assert not self._reading
        self._reading = True


class WebSocketClient:
    """The far end of a WebSocket, frame by frame."""

    KEY = "dGhlIHNhbXBsZSBub25jZQ=="

    def __init__(self, engine: Engine) -> None:
        self.wire = Wire()
        self.connections: set[object] = set()
        """Those that uvicorn waits for at its end."""
        state = SimpleNamespace(connections=self.connections)
        self.protocol = websocket_protocol({"/socket.io/": engine})(None, state, {})
        self.wire.protocol = self.protocol
        self.protocol.connection_made(self.wire)
        self._engine = engine

    def ask(self, target: str, method: str = "GET", **headers: str) -> str:
        """Send the opening handshake; returns the answer, without the frames that follow it."""
        lines = {
            "Host": "parley.test",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": self.KEY,
            **headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.protocol.data_received(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode())
        answer = self.wire.writes.pop(0)
        if answer.startswith(b"HTTP/1.1 101 "):
            answer, end, frames = answer.partition(b"\r\n\r\n")
            answer += end
            self.wire.writes[:0] = [frames] if frames else []
        return answer.decode()

    def dial(self, **query: str) -> None:
        """Connect."""
        query = {"EIO": "4", "transport": "websocket", **query}
        answer = self.ask(f"/socket.io/?{urlencode(query)}")
        assert answer.startswith("HTTP/1.1 101 ")

    def open(self) -> Session:
        """Connect, and begin a session of its own."""
        before = set(self._engine.sessions)
        self.dial()
        (sid,) = set(self._engine.sessions) - before
        ((opcode, packet),) = self.frames()
        assert (opcode, packet[:1]) == (Opcode.TEXT, b"0")
        return self._engine.sessions[sid]

    def send(self, *frames: Frame) -> None:
        """Send frames, all in one read; not while the server doesn't read."""
        assert self.wire.is_reading()
        self.protocol.data_received(b"".join(frame.serialize(mask=True) for frame in frames))

    def say(self, *packets: bytes) -> None:
        """Send Engine.IO packets, all in one read."""
        self.send(*(Frame(Opcode.TEXT, packet) for packet in packets))

    def frames(self) -> list[tuple[int, bytes]]:
        """The frames that came since the last call, as opcode and payload."""
        data = b"".join(self.wire.writes)
        self.wire.writes.clear()
        found = []
        while data:
            first, length = data[0], data[1]
            assert first & 0x80, "a server has no need to send fragments"
            at = 2
            if length > 125:
                at += 2 if length == 126 else 8
                length = int.from_bytes(data[2:at], "big")
            found.append((first & 0xF, data[at : at + length]))
            data = data[at + length :]
        return found

    def packets(self) -> list[bytes]:
        """The text packets that came since the last call; there must be nothing else."""
        frames = self.frames()
        assert all(opcode == Opcode.TEXT for opcode, _ in frames)
        return [payload for _, payload in frames]

    def close_code(self) -> int:
        """Of the Close frame that came last."""
        opcode, payload = self.frames()[-1]
        assert opcode == Opcode.CLOSE
        return int.from_bytes(payload[:2], "big")


class OpenedWebSocket(WebSocketClient):
    """A connected client, its session, and what that was told."""

    def __init__(self, engine: Engine | None = None, **options: float) -> None:
        super().__init__(engine or new_engine(**options))
        self.session: Session = self.open()
        handler = self.session.handler
        assert isinstance(handler, Told)
        self.told = handler


def close_frame(code: int = 1000, reason: str = "") -> Frame:
    return Frame(Opcode.CLOSE, Close(code, reason).serialize())


class _VirtualTime(selectors.DefaultSelector):
    """Where a loop would sleep, its clock is set forward instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout and 0)
        if not ready and timeout is not None:
            self.now += max(timeout, 0.0)
        return ready


class _VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _VirtualTime()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` on a loop for which hours pass at once, and exactly as long as asked."""
    with asyncio.Runner(loop_factory=_VirtualTimeLoop) as runner:
        return runner.run(main)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what must happen sooner or later."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - who makes it true knows of no event
            await asyncio.sleep(0.001)


async def settle(turns: int = 10) -> None:
    """Let all that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)
