"""A polling session moves to a WebSocket, maybe from another process.

The client probes the WebSocket with ``2probe``, gets ``3probe``, lets its
polling requests end, and says ``5``; then the session is the WebSocket's.
An attempt that fails before that leaves the session as it was.
"""

from __future__ import annotations

import contextlib
import enum
import logging
from typing import Protocol

from parley.incidents import Incident, tell
from parley.socketio.engine import Engine
from parley.socketio.handshake import Handshake
from parley.socketio.peers import MovedSession, PeerGone, PeerUnreachable, UpgradeRefused
from parley.socketio.polling import PollingTransport
from parley.socketio.protocol import PROBE_PING, PROBE_PONG, UPGRADE, CloseReason
from parley.socketio.session import MovableHandler, Session, Transport

logger = logging.getLogger(__name__)

_FAILURES = (PeerGone, PeerUnreachable, UpgradeRefused)


class WebSocket(Transport, Protocol):
    """The WebSocket that asks to take a session over."""

    def give_up(self) -> None:
        """Close it, because the upgrade won't be completed."""

    def go_on(self) -> None:
        """Hand over what was kept while the upgrade was busy."""


class Upgrade(Protocol):
    """One attempt."""

    @property
    def busy(self) -> bool:
        """True while nothing more may be taken."""

    def take(self, packet: bytes) -> None:
        """A text packet came over the WebSocket."""

    def abandon(self) -> None:
        """The WebSocket will not take the session over."""


class LocalUpgrade:
    """The session is in this process.

    If it ends while the client changes over, the WebSocket stays open until it
    has: official clients that lose a WebSocket after ``3probe`` and before
    ``5`` wait for polls that they don't make any more, until a ping is overdue.
    """

    busy = False

    def __init__(self, session: Session, websocket: WebSocket) -> None:
        """Raises UpgradeRefused if the session is on a WebSocket, or being moved to another."""
        if session.probe is not None or not isinstance(session.transport, PollingTransport):
            raise UpgradeRefused("this session can't be upgraded")
        self._session = session
        self._polling = session.transport
        self._websocket = websocket
        self._ended: CloseReason | None = None
        """Why the session has, if it has."""
        session.probe = self

    def take(self, packet: bytes) -> None:
        if packet == PROBE_PING:
            self._polling.begin_upgrade()
            self._websocket.send_text(PROBE_PONG)
        elif packet != UPGRADE or not self._polling.upgrading:
            self._websocket.give_up()
        elif self._ended is not None:
            self._say_last_words(self._ended)
        else:
            self._session.upgrade(self._websocket)
            _send_all(self._session, self._polling.take_all())

    def close(self, reason: CloseReason) -> None:
        """The session has ended."""
        if self._polling.upgrading:
            self._ended = reason
        else:
            self._websocket.close(reason)

    def abandon(self) -> None:
        if self._session.probe is self:
            self._session.probe = None
            self._polling.abandon_upgrade()

    def _say_last_words(self, reason: CloseReason) -> None:
        for binary, packet in self._polling.take_all():
            if binary:
                self._websocket.send_binary(packet)
            else:
                self._websocket.send_text(packet)
        self._websocket.close(reason)


class _Step(enum.Enum):
    BEGUN = enum.auto()
    ANNOUNCING = enum.auto()
    """The other process is being told of the WebSocket."""
    ANNOUNCED = enum.auto()
    """It knows, and so does the client; the session is still there."""
    FETCHING = enum.auto()
    """It has been asked for the session."""
    ENDED = enum.auto()
    """The session is here, or the WebSocket has gone."""


class RemoteUpgrade:
    """The session is in another process, until it is fetched from there."""

    def __init__(self, engine: Engine, sid: str, websocket: WebSocket, address: str | None) -> None:
        """``address``: whose limits its client shares."""
        self._engine = engine
        self._sid = sid
        self._address = address
        self._websocket = websocket
        self._step = _Step.BEGUN

    @property
    def busy(self) -> bool:
        return self._step in (_Step.ANNOUNCING, _Step.FETCHING)

    def take(self, packet: bytes) -> None:
        if self._engine.draining:
            self._websocket.give_up()
        elif packet == PROBE_PING and self._step is _Step.BEGUN:
            self._step = _Step.ANNOUNCING
            self._engine.run(self._announce())
        elif packet == UPGRADE and self._step is _Step.ANNOUNCED:
            self._step = _Step.FETCHING
            self._engine.run(self._fetch())
        else:
            self._websocket.give_up()

    def abandon(self) -> None:
        step, self._step = self._step, _Step.ENDED
        if step is _Step.ANNOUNCED:
            self._engine.run(self._withdraw())

    async def _announce(self) -> None:
        try:
            await self._engine.peers.begin_upgrade(self._sid)
        except _FAILURES as error:
            self._fail(error)
        else:
            gone = self._step is _Step.ENDED
            self._step = _Step.ANNOUNCED
            if gone:
                self.abandon()
            else:
                self._websocket.send_text(PROBE_PONG)
                self._websocket.go_on()

    async def _withdraw(self) -> None:
        with contextlib.suppress(*_FAILURES):  # it gives up by itself after a while
            await self._engine.peers.abandon_upgrade(self._sid)

    async def _fetch(self) -> None:
        try:
            moved = await self._engine.peers.take_over(self._sid)
        except _FAILURES as error:
            self._fail(error)
        else:
            if self._step is not _Step.ENDED:  # else the client has gone: the session ends here
                self._step = _Step.ENDED
                await self._go_on(moved)

    def _fail(self, error: Exception) -> None:
        if self._step is not _Step.ENDED:  # else the client has gone, and it doesn't matter
            self._step = _Step.ENDED
            name = type(error).__name__
            text = "a session could not be taken over from another process"
            tell(logger, Incident.MOVE_FAILED, text, reason=str(error) or name, subject=name)
            self._websocket.give_up()

    async def _go_on(self, moved: MovedSession) -> None:
        """The session is here; its client isn't read before the application is ready."""
        session = self._engine.adopt(self._websocket, moved, self._address)
        weight = self._engine.options.max_in_flight
        session.hold(weight)
        if self._engine.draining:
            session.drain()
        _send_all(session, moved.outbox)
        session.ping()  # its client waits no longer than ever, and it isn't known since when
        handler = session.handler
        try:
            if isinstance(handler, MovableHandler):
                await handler.restore(moved.connection)
            else:
                session.close()
        finally:
            session.release(weight)


def attempt(engine: Engine, begun: Handshake, websocket: WebSocket) -> Upgrade:
    """Begin to move the session that ``begun`` names to that WebSocket.

    Raises UpgradeRefused.
    """
    sid = begun.query["sid"]
    session = engine.sessions.get(sid)
    if session is not None:
        return LocalUpgrade(session, websocket)
    address = engine.limiter.address(begun.remote, begun.headers)
    return RemoteUpgrade(engine, sid, websocket, address)


def _send_all(session: Session, packets: list[tuple[bool, bytes]]) -> None:
    """Send what waited for the polls of a session."""
    for binary, packet in packets:
        if binary:
            session.send_binary(packet)
        else:
            session.send(packet)
