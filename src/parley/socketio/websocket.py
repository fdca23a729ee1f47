"""The WebSocket transport: an :class:`asyncio.Protocol` plugged into uvicorn.

A request that asks for a WebSocket is handed to the class named by uvicorn's
``Config(ws=...)``: first its head, then all that follows.  See
:func:`websocket_protocol`, and :mod:`.front`.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, ClassVar, Final, cast

from parley.socketio import frames
from parley.socketio.deadlines import Deadline
from parley.socketio.engine import Engine
from parley.socketio.frames import CloseCode, FrameParser, Opcode
from parley.socketio.handshake import Handshake
from parley.socketio.opening import NAME, opening
from parley.socketio.peers import UpgradeRefused
from parley.socketio.protocol import CloseReason
from parley.socketio.session import TURN, Session, State
from parley.socketio.upgrade import Upgrade, attempt

_FAILED_LINGER: Final = 1.0
"""Seconds for our Close frame to reach a client whose frames were wrong."""
_CLOSE_CODES: Final = {
    CloseReason.PARSE_ERROR: CloseCode.PROTOCOL_ERROR,
    CloseReason.SLOW: CloseCode.POLICY,
    CloseReason.FLOODING: CloseCode.POLICY,
    CloseReason.TOO_MANY: CloseCode.TRY_AGAIN,
    CloseReason.SHUTDOWN: CloseCode.SERVICE_RESTART,
    CloseReason.PING_TIMEOUT: CloseCode.GOING_AWAY,
}
"""The others close with 1000."""


class Phase(enum.Enum):
    HANDSHAKE = enum.auto()
    PROBING = enum.auto()
    """Asks to take over a polling session; see ``upgrade``."""
    OPEN = enum.auto()
    CLOSING = enum.auto()
    """Our Close frame is out; only the peer's is waited for."""
    CLOSED = enum.auto()


# For what every message passes: Python 3.11 takes as long to find an enum's member as for a call.
_HANDSHAKE, _OPEN, _CLOSED = Phase.HANDSHAKE, Phase.OPEN, Phase.CLOSED
_TEXT: Final = Opcode.TEXT
_BINARY: Final = Opcode.BINARY


class WebSocketTransport(asyncio.Protocol):
    """One WebSocket connection, from its handshake to its end."""

    __slots__ = (
        "_backlog",
        "_connections",
        "_deadline",
        "_out",
        "_out_size",
        "_parser",
        "_phase",
        "_reading",
        "_session",
        "_transport",
        "_upgrade",
        "_write_paused",
        "engine",
    )

    engines: ClassVar[Mapping[str, Engine]] = {}
    """Which engine serves which path; see :func:`websocket_protocol`."""

    name = NAME

    def __init__(self, config: Any, server_state: Any, app_state: Any) -> None:
        # The signature is uvicorn's.  It waits at its end for the connections in this set.
        self._connections: set[Any] = server_state.connections
        self.engine: Engine
        self._transport: asyncio.Transport
        self._session: Session
        self._parser: FrameParser
        self._phase = Phase.HANDSHAKE
        self._out: list[bytes] = []
        self._out_size = 0
        self._backlog: deque[frames.Message] | None = None
        """What came and can't be taken yet."""
        self._deadline: Deadline | None = None
        self._upgrade: Upgrade | None = None
        self._reading = True
        self._write_paused = False

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not every loop's transports derive from asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._phase is _HANDSHAKE:
            self._shake_hands(data)
            return
        if self._phase is _CLOSED:
            return
        parser = self._parser
        messages = parser.feed(data)
        with self.engine.batch:
            if self._phase is _OPEN:
                session = self._session
                session.credit -= len(data)
                if session.credit < 0:
                    session.overdraw()
            if self._backlog is not None:
                self._backlog.extend(messages)
            else:
                self._take(messages)
            if parser.failure is not None and self._phase is not Phase.CLOSING:
                self._fail(parser.failure)
        if parser.more:
            self.pause()
            self._read_on()

    def eof_received(self) -> None:
        return None  # closes the transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._set_deadline(None)
        phase, self._phase = self._phase, Phase.CLOSED
        if phase is Phase.OPEN:
            self._session.close(CloseReason.TRANSPORT_ERROR if exc else CloseReason.TRANSPORT_CLOSE)
        elif phase is Phase.PROBING:
            self.give_up()
        self._out.clear()
        self._backlog = None

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self.flush()

    def shutdown(self) -> None:
        """uvicorn is about to end."""
        if self._phase is Phase.OPEN:
            self._session.close(CloseReason.SHUTDOWN)
            self.flush()
        self._transport.close()

    # -- session.Transport

    def attach(self, session: Session) -> None:
        self._session = session
        self._phase = Phase.OPEN
        self._upgrade = None
        self._set_deadline(None)
        if session.paused:
            self.pause()

    def send_text(self, packet: bytes) -> None:
        self._queue(frames.text_header(len(packet)), packet)

    def send_binary(self, content: bytes) -> None:
        self._queue(frames.frame_header(_BINARY, len(content)), content)

    def flush(self) -> None:
        if self._write_paused or not self._out or self._phase is _CLOSED:
            return
        out, self._out = self._out, []
        self._out_size = 0
        self._transport.write(b"".join(out))

    def pause(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume(self) -> None:
        backlog, self._backlog = self._backlog, None
        with self.engine.batch:
            if backlog:
                self._take(backlog)
        self._read_on()

    def drained(self) -> bool:
        return not self._backlog and not self._parser.more

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def close(self, reason: CloseReason) -> None:
        self._send_close(_CLOSE_CODES.get(reason, CloseCode.NORMAL), reason)
        if reason is CloseReason.FLOODING:  # its Close frame would come behind all the rest
            self.pause()
            self._set_deadline(self._transport.abort, _FAILED_LINGER)

    # -- within

    def _queue(self, header: bytes, payload: bytes) -> None:
        if self._write_paused and not self._may_wait(payload):
            return
        out = self._out
        if not out:
            self.engine.batch.add(self)
        out += (header, payload)

    def _may_wait(self, payload: bytes) -> bool:
        """False if too much waits already for a client that doesn't read: that ends it."""
        options = self.engine.options
        if self._out_size < options.max_outbox:
            self._out_size += options.outbox_weight(payload)
            return True
        self._out_size = 0  # so that ending it may say so
        self._out.clear()
        if self._phase is _OPEN:
            self._session.close(CloseReason.SLOW)
        else:
            self.give_up()
        return False

    def _take(self, messages: list[frames.Message] | deque[frames.Message]) -> None:
        """Hand messages to the session until it asks for a pause; keep the rest."""
        for taken, (opcode, payload) in enumerate(messages):
            if self._phase is _OPEN:
                session = self._session
                data = opcode is _TEXT or opcode is _BINARY
                if taken >= TURN or (session.paused and data):
                    self._keep(messages, taken)
                    return
                if opcode is _TEXT:
                    session.receive_text(payload)
                    continue
                if data:
                    session.receive_binary(payload)
                    continue
            self._take_other(opcode, payload)
            if self._upgrade is not None and self._upgrade.busy:
                self._backlog = deque(islice(messages, taken + 1, None))
                self.pause()
                return

    def _keep(self, messages: Iterable[frames.Message], taken: int) -> None:
        """Put off what is left of a batch, and read no more meanwhile."""
        self._backlog = deque(islice(messages, taken, None))
        if not self._session.paused:  # nothing else will resume it
            self.pause()
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        if self._phase is Phase.OPEN and not self._session.paused:
            self.resume()

    def _parse_on(self) -> None:
        """Look at what the parser has put off."""
        if self._phase is not _CLOSED:
            self.data_received(b"")
            if not self._parser.more:
                self._read_on()

    def _take_other(self, opcode: int, payload: bytes) -> None:
        if opcode == Opcode.CLOSE:
            self._close_received()
        elif self._phase is Phase.CLOSING:
            pass  # what a peer sends before it sees our Close frame is not for us
        elif opcode == Opcode.PING:
            self._queue(frames.frame_header(Opcode.PONG, len(payload)), payload)
        elif opcode == Opcode.TEXT and self._upgrade is not None:
            self._upgrade.take(payload)
        elif opcode == Opcode.BINARY:
            self.give_up()

    # -- the opening handshake

    def _shake_hands(self, head: bytes) -> None:
        granted = opening(self.engines, head, self._transport.get_extra_info("peername"))
        if isinstance(granted, bytes):
            self._phase = Phase.CLOSED
            self._transport.write(granted)
            self._transport.close()
            return
        self.engine, begun, answer = granted
        engine = self.engine
        self._parser = FrameParser(engine.options.max_payload)
        with engine.batch:
            engine.batch.add(self)
            self._out.append(answer)  # one write with what follows
            if "sid" in begun.query:
                self._begin_upgrade(begun)
            else:
                session = engine.open(self, begun)
                session.send(engine.open_packet(session))

    # -- the upgrade of a polling session

    def _begin_upgrade(self, begun: Handshake) -> None:
        self._phase = Phase.PROBING
        try:
            self._upgrade = attempt(self.engine, begun, self)
        except UpgradeRefused as exc:
            # The handshake is complete first, as the official server's is: a
            # client tells this from an unknown session by it.
            self._send_close(CloseCode.POLICY, str(exc))
            return
        self._set_deadline(self.give_up, self.engine.options.upgrade_timeout)

    def go_on(self) -> None:
        backlog, self._backlog = self._backlog, None
        with self.engine.batch:
            self._take(backlog or [])
        self._read_on()

    def give_up(self) -> None:
        upgrade, self._upgrade = self._upgrade, None
        if upgrade is not None:
            upgrade.abandon()
        self._send_close(CloseCode.POLICY, "upgrade not completed")

    # -- the end

    def _fail(self, failure: frames.Failure) -> None:
        """Fail the connection, RFC 6455 section 7.1.7."""
        phase = self._phase
        self._send_close(failure.code, failure.reason)
        if phase is Phase.PROBING:
            self.give_up()
        # The peer's answer can't be told any more from the rest of what it sends.
        self._set_deadline(self._transport.abort, _FAILED_LINGER)
        if phase is Phase.OPEN:
            self._session.close(CloseReason.PARSE_ERROR)

    def _close_received(self) -> None:
        phase = self._phase
        if phase in (Phase.OPEN, Phase.PROBING):
            code = self._parser.close_code
            self._send_close(CloseCode.NORMAL if code in (None, frames.NO_CODE) else code, "")
        if phase is Phase.OPEN:
            self._session.close(CloseReason.TRANSPORT_CLOSE)
        elif phase is Phase.PROBING:
            self.give_up()
        self.flush()
        self._transport.close()

    def _send_close(self, code: int, reason: str) -> None:
        if self._phase in (Phase.CLOSING, Phase.CLOSED):
            return
        self._phase = Phase.CLOSING
        if not self._out:
            self.engine.batch.add(self)
        self._out.append(frames.encode_close(code, reason))
        self._backlog = None
        self._read_on()  # the peer's Close frame must get through
        self._set_deadline(self._transport.abort, self.engine.options.close_timeout)

    def _read_on(self) -> None:
        """Go on to what comes next, unless what came before has yet to be taken."""
        if self._reading or self._transport.is_closing() or not self._ready():
            return
        if self._parser.more:
            asyncio.get_running_loop().call_soon(self._parse_on)
        elif self._phase is Phase.OPEN and self._session.state is not State.OPEN:
            self._session.drain()  # for which this was waited
        else:
            self._reading = True
            self._transport.resume_reading()

    def _ready(self) -> bool:
        """Everything that was parsed has been taken, and more may be."""
        if self._phase is Phase.OPEN:
            return not self._backlog and not self._session.paused
        busy = self._upgrade is not None and self._upgrade.busy
        return self._phase is Phase.CLOSING or (self._backlog is None and not busy)

    def _set_deadline(self, callback: Any, seconds: float = 0) -> None:
        if self._deadline is not None:
            self.engine.deadlines.cancel(self._deadline)
            self._deadline = None
        if callback is not None:
            self._deadline = Deadline(callback)
            self.engine.deadlines.arm(self._deadline, seconds)


def websocket_protocol(by_path: Mapping[str, Engine]) -> type[WebSocketTransport]:
    """A class for ``uvicorn.Config(ws=...)`` that serves each path by its engine."""

    class BoundWebSocketTransport(WebSocketTransport):
        __slots__ = ()
        engines: ClassVar[Mapping[str, Engine]] = by_path

    return BoundWebSocketTransport
