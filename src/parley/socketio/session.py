"""The life of an Engine.IO session, whatever transport it is on.

A session outlives the transport it began on: it may start on HTTP long-polling
and move to a WebSocket, even to one that reaches another process.  This module
does no I/O of its own; transports hand it what arrived and are told what to send.
"""

from __future__ import annotations

import asyncio
import enum
from typing import Final, Protocol, runtime_checkable

from parley.socketio.batch import Batch
from parley.socketio.deadlines import Deadlines, Timed
from parley.socketio.handshake import Handshake
from parley.socketio.limiter import Limiter
from parley.socketio.options import Options
from parley.socketio.peers import MovedConnection
from parley.socketio.protocol import CLOSE, MESSAGE, NOOP, PING, PONG, CloseReason
from parley.socketio.throttle import Throttle, lift, settle

TURN: Final = 256
"""Packets of one client that are handled before others get their turn."""
_MESSAGE_BYTE: Final = MESSAGE[0]


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

    def on_excess(self, message: bytes, wait: int) -> None:
        """A text message, in order, of a client that sends too much.

        It should be refused; its sender may send again in ``wait`` milliseconds.
        """

    def on_close(self, reason: CloseReason) -> None:
        """The session has ended; called exactly once."""


@runtime_checkable
class MovableHandler(Handler, Protocol):
    """A handler that can go on in another process."""

    def movable(self) -> bool:
        """False if something belongs to it that can't travel."""

    def settled(self) -> bool:
        """False while something is under way that has to end here."""

    def export(self) -> MovedConnection:
        """What the one over there needs; has no effect here.

        Raises whatever the application's hooks raise.
        """

    async def restore(self, moved: MovedConnection) -> None:
        """Go on where :meth:`export` left off; closes the session if that fails.

        Nothing is received before this returns; anything may be sent.
        """


class Probe(Protocol):
    """What asks to take a polling session over."""

    def close(self, reason: CloseReason) -> None:
        """The session has ended."""


class Host(Protocol):
    """The engine that a session is one of, as far as sessions and transports need it."""

    options: Options
    deadlines: Deadlines
    limiter: Limiter
    batch: Batch

    def forget(self, session: Session, reason: CloseReason) -> None:
        """Drop a session that has closed."""

    def linger(self, session: Session) -> None:
        """Keep a closed session's transport for a client that will ask for its last words."""


class State(enum.Enum):
    OPEN = enum.auto()
    DRAINING = enum.auto()
    """Nothing more is read; it closes when what was read has been answered."""
    CLOSED = enum.auto()


# For what every message passes: Python 3.11 takes as long to find an enum's member as for a call.
_DRAINING, _CLOSED = State.DRAINING, State.CLOSED


class Session(Timed):
    """One client's Engine.IO session, on whichever transport it is.

    It is due when its heartbeat is.
    """

    __slots__ = (
        "_awaiting_pong",
        "_in_flight",
        "_resumed",
        "_unsent",
        "account",
        "address",
        "allowance",
        "credit",
        "engine",
        "handler",
        "handshake",
        "paused",
        "probe",
        "sid",
        "state",
        "throttle",
        "transport",
    )

    def __init__(
        self,
        engine: Host,
        sid: str,
        transport: Transport,
        handshake: Handshake | None,
        address: str | None,
    ) -> None:
        super().__init__()
        self.engine = engine
        self.sid = sid
        self.transport = transport
        self.handshake = handshake
        self.address = address
        """Whose limits it shares with others: an address's; None for no one's."""
        self.account: str | None = None
        """Likewise; whoever knows who the client is says so here."""
        self.allowance = engine.limiter.free_events
        self.credit = engine.limiter.free_bytes
        self.throttle: Throttle | None = None
        """Present while the client sends too much, and a while longer."""
        self.handler: Handler
        self.state = State.OPEN
        self.probe: Probe | None = None
        """Present while a WebSocket, here or in another process, asks to take over."""
        self.paused = False
        self._in_flight = 0
        self._awaiting_pong = False
        self._unsent = 0
        self._resumed: asyncio.Future[None] | None = None
        engine.deadlines.arm(self, engine.options.ping_interval)

    # -- from the server to the client

    def send(self, packet: bytes) -> None:
        """Queue an encoded Engine.IO text packet; dropped once the session is closed."""
        if self.state is not _CLOSED:
            self.transport.send_text(packet)

    def send_binary(self, content: bytes) -> None:
        """Queue a binary message; dropped once the session is closed."""
        if self.state is not State.CLOSED:
            self.transport.send_binary(content)

    def ping(self) -> None:
        """Ping now, instead of when it is due next."""
        self._ping(self.engine.options.ping_timeout)

    def close(self, reason: CloseReason = CloseReason.FORCED) -> None:
        """End the session and its transport.  Idempotent."""
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.engine.forget(self, reason)
        self.engine.deadlines.cancel(self)
        if self.throttle is not None:
            self.engine.limiter.pauses.cancel(self.throttle)
            self.throttle = None
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
        if self.state is _CLOSED:
            return
        if kind == _MESSAGE_BYTE:
            self.allowance = left = self.allowance - 1
            if left > 0:
                self.handler.on_text(packet[1:])
            else:
                self._receive_last(packet[1:])
        elif packet == PONG:
            if self._awaiting_pong:
                self._awaiting_pong = False
                self.engine.deadlines.arm(self, self.engine.options.ping_interval)
        elif packet == CLOSE:
            self.close(CloseReason.TRANSPORT_CLOSE)
        elif packet != NOOP:
            self.close(CloseReason.PARSE_ERROR)

    def receive_binary(self, content: bytes) -> None:
        """Take one binary message that came over the current transport."""
        if self.state is not State.CLOSED:
            self.allowance -= 1
            if self.allowance <= 0 and not (self.throttle and self.throttle.refuses):
                self._pay()
            self.handler.on_binary(content)  # part of an event that was refused, if that was

    def upgrade(self, transport: Transport) -> None:
        """Go on over another transport; the old one has handed over what it held."""
        self.probe = None
        self.transport = transport
        transport.attach(self)

    # -- limits: most of what is received costs a number that goes down, and nothing else

    @property
    def name(self) -> str:
        """Who the client is, as far as that is known; for the log."""
        return self.account or self.address or "somebody"

    def overdraw(self) -> None:
        """More bytes have come than were paid for: ``credit`` is below 0."""
        settle(self, self.engine.limiter.pay_bytes(self))

    def _receive_last(self, message: bytes) -> None:
        """Take the last message that was paid for, or one that wasn't and may be refused."""
        if self.throttle is not None and self.throttle.refuses:
            wait = self.throttle.refuse()
            if wait is None:
                self.close(CloseReason.FLOODING)
                return
            if wait:
                self.handler.on_excess(message, wait)
                return
        self._pay()
        self.handler.on_text(message)

    def _pay(self) -> None:
        settle(self, self.engine.limiter.pay_events(self))

    # -- back-pressure: the client is read only as fast as it can be served

    @property
    def in_flight(self) -> int:
        """Events that were read and have yet to be answered, by their weight."""
        return self._in_flight

    @property
    def busy(self) -> bool:
        """True while something that was read has yet to be answered."""
        return self._in_flight > 0

    def hold(self, weight: int = 1) -> None:
        """An event has been taken that is not answered yet; :meth:`release` must follow."""
        self._in_flight += weight
        if not self.paused and self._in_flight >= self.engine.options.max_in_flight:
            self.pause()

    def release(self, weight: int = 1) -> None:
        """The event has been answered."""
        self._in_flight -= weight
        if self.paused and self._in_flight < self.engine.options.max_in_flight:
            # Not at once: the caller may be in the midst of answering several.
            asyncio.get_running_loop().call_soon(self.resume)
        elif self.state is _DRAINING:
            self._close_if_drained()

    def drain(self) -> None:
        """Read no more, and close as soon as what was read has been answered."""
        if self.state is State.OPEN:
            self.state = State.DRAINING
            self.transport.pause()
            lift(self)
        if self.state is State.DRAINING:
            self._close_if_drained()

    def close_unless_busy(self) -> None:
        """Close, unless something that was read has yet to be answered."""
        if not self.busy:
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

    def pause(self) -> None:
        """Read the client no more, until :meth:`resume`."""
        if not self.paused:
            self.paused = True
            self.transport.pause()

    def resume(self) -> None:
        """Read the client again, unless something stands against that."""
        held = self.throttle is not None and self.throttle.holds
        if self.paused and not held and self._in_flight < self.engine.options.max_in_flight:
            self.paused = False
            self._wake()
            if self.state is not State.CLOSED:
                self.transport.resume()
        if self.state is State.DRAINING:
            self._close_if_drained()

    def _close_if_drained(self) -> None:
        if self._in_flight == 0 and self.transport.drained():
            self.close(CloseReason.SHUTDOWN)

    # -- the heartbeat

    def due(self) -> None:
        timeout = self.engine.options.ping_timeout
        if not self._awaiting_pong:
            # A client counts from when the ping was due, and so do we.
            self._ping(timeout - min(self.engine.deadlines.late, timeout / 2))
        elif not self.paused and not self._moves():  # paused: its pong can't have been read
            self.close(CloseReason.PING_TIMEOUT)
        else:
            self.engine.deadlines.arm(self, timeout)

    def _ping(self, timeout: float) -> None:
        self._awaiting_pong = True
        self.engine.deadlines.arm(self, timeout)
        self.send(PING)  # which may be too much for the client, and end it
        self._unsent = self.transport.unsent()

    def _moves(self) -> bool:
        """True if the ping is still behind a lot of data that a slow network takes bit by bit."""
        before, self._unsent = self._unsent, self.transport.unsent()
        return 0 < self._unsent < before
