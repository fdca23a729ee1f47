"""Engine.IO protocol v4: packets, and the life of a session.

See https://github.com/socketio/engine.io-protocol.  A session outlives the
transport it began on: it may start on HTTP long-polling and move to a
WebSocket.  This module does no I/O of its own; transports hand it what
arrived and are told what to send.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, Protocol

import msgspec

from parley.socketio.deadlines import Deadline, Deadlines

logger = logging.getLogger(__name__)

PROTOCOL_VERSION: Final = "4"

OPEN: Final = b"0"
CLOSE: Final = b"1"
PING: Final = b"2"
PONG: Final = b"3"
MESSAGE: Final = b"4"
UPGRADE: Final = b"5"
NOOP: Final = b"6"
PROBE_PING: Final = b"2probe"
PROBE_PONG: Final = b"3probe"

_MESSAGE_BYTE: Final = MESSAGE[0]
TURN: Final = 256
"""Packets of one client that are handled before others get their turn."""
LAST_FETCH: Final = 1.0
"""Seconds that a polling client has, when the server stops, to fetch its last answers."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and deadlines of every session.  Times in seconds, sizes in bytes."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    max_payload: int = 1_000_000
    """Of one message, or of one polling request's body."""
    connect_timeout: float = 20.0
    """By then a client must have joined a namespace."""
    upgrade_timeout: float = 10.0
    """By then a probing WebSocket must have completed its upgrade."""
    close_timeout: float = 5.0
    """By then a peer must have answered our WebSocket Close frame."""
    max_outbox: int = 4 * 1024 * 1024
    """A client that lets more than this wait for it is disconnected."""
    max_in_flight: int = 512
    """Unanswered events of one client, after which it isn't read for a while."""
    max_attachments: int = 10
    """Of one binary packet."""
    max_namespaces: int = 16
    """One session's, joined and refused."""
    max_acks: int = 1_000
    """Acknowledgements of one socket that the server waits for."""
    attachment_timeout: float = 10.0
    """By then all attachments of a packet must have followed it."""
    origins: frozenset[str] = frozenset()
    """Origins of web pages that may connect, besides the server's own; ``*`` is any."""
    keep_handshake: bool = True
    """Keep request headers after the first namespace is joined (about 1 KB a session)."""

    def outbox_weight(self, packet: bytes) -> int:
        """What a packet counts for in ``max_outbox``: its size, and at most a quarter of it.

        A large answer that a client asked for is no sign that it doesn't read.
        """
        return min(len(packet), self.max_outbox // 4)


class CloseReason(enum.StrEnum):
    """Why a session or socket ended; the words are the official server's where it has them."""

    CLIENT_NAMESPACE = "client namespace disconnect"
    SERVER_NAMESPACE = "server namespace disconnect"
    PING_TIMEOUT = "ping timeout"
    TRANSPORT_CLOSE = "transport close"
    TRANSPORT_ERROR = "transport error"
    PARSE_ERROR = "parse error"
    CONNECT_TIMEOUT = "connect timeout"
    FORCED = "forced close"
    SLOW = "slow client"
    SHUTDOWN = "server shutting down"


class Problem(msgspec.Struct, frozen=True):
    """Why a request was refused: the body of the HTTP answer, in the official server's words."""

    code: int
    message: str

    @property
    def status(self) -> HTTPStatus:
        """Of that answer."""
        return HTTPStatus.FORBIDDEN if self == FORBIDDEN else HTTPStatus.BAD_REQUEST


UNKNOWN_TRANSPORT: Final = Problem(0, "Transport unknown")
UNKNOWN_SESSION: Final = Problem(1, "Session ID unknown")
BAD_METHOD: Final = Problem(2, "Bad handshake method")
BAD_REQUEST: Final = Problem(3, "Bad request")
FORBIDDEN: Final = Problem(4, "Forbidden")
BAD_VERSION: Final = Problem(5, "Unsupported protocol version")


class Handshake(msgspec.Struct, frozen=True):
    """The request with which a session began."""

    headers: Mapping[str, str]
    """Names in lower case."""
    query: Mapping[str, str]
    remote: str
    """The peer's address."""


class Transport(Protocol):
    """What carries a session's packets.  All calls return at once."""

    name: str

    def attach(self, session: Session) -> None:
        """Name the session that it serves; called before anything is sent."""

    def send_text(self, packet: bytes) -> None:
        """Queue a text packet; it leaves with the next :meth:`flush`."""

    def send_binary(self, content: bytes) -> None:
        """Queue a binary message."""

    def flush(self) -> None:
        """Pass on everything queued, in order."""

    def pause(self) -> None:
        """Read nothing more from the client until :meth:`resume`; lose nothing."""

    def resume(self) -> None:
        """Hand over what had been read; then read on, if the session is open."""

    def drained(self) -> bool:
        """True if all that was read has been handed over, and all answers have been passed on."""

    def unsent(self) -> int:
        """Bytes that were written and that the network has not taken yet."""

    def close(self, reason: CloseReason) -> None:
        """End the transport after what is queued has been passed on."""


class Handler(Protocol):
    """What a session's messages are for."""

    def on_text(self, message: bytes) -> None:
        """A text message, in order; valid UTF-8."""

    def on_binary(self, message: bytes) -> None:
        """A binary message, in order with the text ones."""

    def on_close(self, reason: CloseReason) -> None:
        """The session has ended; called exactly once."""


class State(enum.Enum):
    OPEN = enum.auto()
    DRAINING = enum.auto()
    """Nothing more is read; it closes when what was read has been answered."""
    CLOSED = enum.auto()


class Session:
    """One client's Engine.IO session, on whichever transport it is."""

    __slots__ = (
        "_awaiting_pong",
        "_heartbeat",
        "_in_flight",
        "_resumed",
        "_unsent",
        "engine",
        "handler",
        "handshake",
        "paused",
        "probe",
        "sid",
        "state",
        "transport",
    )

    def __init__(
        self, engine: Engine, sid: str, transport: Transport, handshake: Handshake
    ) -> None:
        self.engine = engine
        self.sid = sid
        self.transport = transport
        self.handshake: Handshake | None = handshake
        self.handler: Handler
        self.state = State.OPEN
        self.probe: Transport | None = None
        """The WebSocket that asks to take over, while it does."""
        self.paused = False
        self._in_flight = 0
        self._awaiting_pong = False
        self._unsent = 0
        self._resumed: asyncio.Future[None] | None = None
        self._heartbeat = Deadline(self._beat)
        engine.deadlines.arm(self._heartbeat, engine.options.ping_interval)

    # -- from the server to the client

    def send(self, packet: bytes) -> None:
        """Queue an encoded Engine.IO text packet; dropped once the session is closed."""
        if self.state is not State.CLOSED:
            self.transport.send_text(packet)

    def send_binary(self, content: bytes) -> None:
        """Queue a binary message; dropped once the session is closed."""
        if self.state is not State.CLOSED:
            self.transport.send_binary(content)

    def close(self, reason: CloseReason = CloseReason.FORCED) -> None:
        """End the session and its transport.  Idempotent."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.engine.forget(self, reason)
        self.engine.deadlines.cancel(self._heartbeat)
        self._wake()
        self.handler.on_close(reason)
        if self.probe is not None:
            self.probe.close(reason)
            self.probe = None
        self.transport.close(reason)

    # -- from the client to the server

    def receive_text(self, packet: bytes) -> None:
        """Take one text packet that came over the current transport."""
        kind = packet[0] if packet else None
        if self.state is State.CLOSED:
            return
        if kind == _MESSAGE_BYTE:
            self.handler.on_text(packet[1:])
        elif packet == PONG:
            if self._awaiting_pong:
                self._awaiting_pong = False
                self.engine.deadlines.arm(self._heartbeat, self.engine.options.ping_interval)
        elif packet == CLOSE:
            self.close(CloseReason.TRANSPORT_CLOSE)
        elif packet != NOOP:
            self.close(CloseReason.PARSE_ERROR)

    def receive_binary(self, content: bytes) -> None:
        """Take one binary message that came over the current transport."""
        if self.state is not State.CLOSED:
            self.handler.on_binary(content)

    def upgrade(self, transport: Transport) -> None:
        """Go on over another transport; the old one has handed over what it held."""
        self.probe = None
        self.transport = transport

    # -- back-pressure: the client is read only as fast as it can be served

    def hold(self, weight: int = 1) -> None:
        """An event has been taken that is not answered yet; :meth:`release` must follow."""
        self._in_flight += weight
        if not self.paused and self._in_flight >= self.engine.options.max_in_flight:
            self.paused = True
            self.transport.pause()

    def release(self, weight: int = 1) -> None:
        """The event has been answered."""
        self._in_flight -= weight
        if self.paused and self._in_flight < self.engine.options.max_in_flight:
            # Not at once: the caller may be in the midst of answering several.
            asyncio.get_running_loop().call_soon(self._resume)
        elif self.state is State.DRAINING:
            self._close_if_drained()

    def drain(self) -> None:
        """Read no more, and close as soon as what was read has been answered."""
        if self.state is State.OPEN:
            self.state = State.DRAINING
            self.transport.pause()
        if self.state is State.DRAINING:
            self._close_if_drained()

    def close_unless_busy(self) -> None:
        """Close, unless something that was read has yet to be answered."""
        if self._in_flight == 0:
            self.close(CloseReason.SHUTDOWN)

    async def resumed(self) -> None:
        """Wait until the client may be read again, or the session has closed."""
        while self.paused and self.state is not State.CLOSED:
            if self._resumed is None:
                self._resumed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._resumed)

    def _wake(self) -> None:
        if self._resumed is not None:
            self._resumed.set_result(None)
            self._resumed = None

    def _resume(self) -> None:
        if self.paused and self._in_flight < self.engine.options.max_in_flight:
            self.paused = False
            self._wake()
            if self.state is not State.CLOSED:
                self.transport.resume()
        if self.state is State.DRAINING:
            self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._in_flight == 0 and self.transport.drained():
            self.close(CloseReason.SHUTDOWN)

    def _beat(self) -> None:
        timeout = self.engine.options.ping_timeout
        if not self._awaiting_pong:
            self._awaiting_pong = True
            self.send(PING)
            # A client counts from when the ping was due, and so do we.
            timeout -= min(self.engine.deadlines.late, timeout / 2)
            self._unsent = self.transport.unsent()
        elif not self.paused and not self._moves():  # paused: its pong can't have been read
            self.close(CloseReason.PING_TIMEOUT)
            return
        self.engine.deadlines.arm(self._heartbeat, timeout)

    def _moves(self) -> bool:
        """True if the ping is still behind a lot of data that a slow network takes bit by bit."""
        before, self._unsent = self._unsent, self.transport.unsent()
        return 0 < self._unsent < before


class Batch:
    """One write per connection for everything sent within ``with engine.batch:``.

    May be nested; the outermost end writes.  What is sent outside of any batch
    is written in the loop's next turn.
    """

    __slots__ = ("_depth", "_dirty")

    def __init__(self) -> None:
        self._depth = 0
        self._dirty: list[Transport] = []

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if not self._depth and self._dirty:
            self._flush()

    def add(self, transport: Transport) -> None:
        """The transport has something queued; called once until it is flushed."""
        if not self._dirty and not self._depth:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty.append(transport)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for transport in dirty:
            try:
                transport.flush()
            except Exception:
                logger.exception("writing to a connection failed")


class Engine:
    """All sessions of one server in this process."""

    def __init__(self, options: Options, accept: Callable[[Session], Handler]) -> None:
        self.options = options
        self.sessions: dict[str, Session] = {}
        resolution = min(0.25, max(0.005, min(options.ping_interval, options.ping_timeout) / 10))
        self.deadlines = Deadlines(resolution)
        self.draining = False
        self.opened = 0
        """Sessions opened so far."""
        self.closed: Counter[CloseReason] = Counter()
        """Sessions closed so far, by reason."""
        self._lingering: dict[str, tuple[Transport, Deadline]] = {}
        self._accept = accept
        self.batch = Batch()
        self._empty: asyncio.Event | None = None

    def open(self, transport: Transport, handshake: Handshake) -> Session:
        """Begin a session; its client must be sent :meth:`open_packet` first."""
        session = Session(self, secrets.token_urlsafe(15), transport, handshake)
        transport.attach(session)
        self.sessions[session.sid] = session
        self.opened += 1
        session.handler = self._accept(session)
        return session

    def open_packet(self, session: Session) -> bytes:
        """The packet that tells a client its session's id and bounds."""
        options = self.options
        return OPEN + msgspec.json.encode(
            {
                "sid": session.sid,
                "upgrades": ["websocket"] if session.transport.name == "polling" else [],
                "pingInterval": round(options.ping_interval * 1000),
                "pingTimeout": round(options.ping_timeout * 1000),
                "maxPayload": options.max_payload,
            }
        )

    def check(self, query: Mapping[str, str], headers: Mapping[str, str]) -> Problem | None:
        """What is wrong with a request, whatever its transport; None if nothing is."""
        if query.get("transport") not in ("polling", "websocket"):
            return UNKNOWN_TRANSPORT
        if query.get("EIO") != PROTOCOL_VERSION:
            return BAD_VERSION
        origin = headers.get("origin")
        if origin is not None and not self.allows(origin, headers.get("host", "")):
            return FORBIDDEN
        if "sid" in query and query["sid"] not in self.sessions:
            return UNKNOWN_SESSION
        return None

    def allows(self, origin: str, host: str) -> bool:
        """True if pages of ``origin`` may connect to us, called ``host`` by them."""
        origins = self.options.origins
        own = origin.partition("://")[2].lower()
        return "*" in origins or origin in origins or (own != "" and own == host.lower())

    def forget(self, session: Session, reason: CloseReason) -> None:
        """Drop a session that has closed."""
        self.sessions.pop(session.sid, None)
        self.closed[reason] += 1
        if self._empty is not None and not self.sessions:
            self._empty.set()

    def linger(self, session: Session) -> None:
        """Keep a closed session's transport for a client that will ask for its last words."""
        sid = session.sid
        deadline = Deadline(lambda: self._lingering.pop(sid, None))
        self._lingering[sid] = (session.transport, deadline)
        self.deadlines.arm(deadline, self.options.close_timeout)

    def lingering(self, sid: str) -> Transport | None:
        """The transport kept by :meth:`linger`."""
        transport, _ = self._lingering.get(sid, (None, None))
        return transport

    def stop_lingering(self, sid: str) -> None:
        """The client has them all."""
        _, deadline = self._lingering.pop(sid, (None, None))
        if deadline is not None:
            self.deadlines.cancel(deadline)

    async def drain(self, grace: float) -> None:
        """Open no more sessions, answer what was read, and close every session.

        Takes at most ``grace`` seconds; what is unanswered by then is cut off.
        """
        self.draining = True
        self._empty = asyncio.Event()
        with self.batch:
            for session in list(self.sessions.values()):
                session.drain()
        await self._until_empty(min(grace, LAST_FETCH))
        for session in list(self.sessions.values()):
            session.close_unless_busy()
        await self._until_empty(grace - min(grace, LAST_FETCH))
        if self.sessions:
            logger.warning("%d sessions did not end in time; cutting them off", len(self.sessions))
        for session in list(self.sessions.values()):
            session.close(CloseReason.SHUTDOWN)

    async def _until_empty(self, seconds: float) -> None:
        assert self._empty is not None
        if self.sessions:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
