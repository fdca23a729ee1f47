"""What other processes ask of this one, about its sessions."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from parley.incidents import fault
from parley.socketio import polling
from parley.socketio.deadlines import Deadline
from parley.socketio.engine import Engine
from parley.socketio.peers import MovedSession, Poll, PollAnswer, UpgradeRefused
from parley.socketio.polling import PollingTransport
from parley.socketio.protocol import CloseReason
from parley.socketio.session import MovableHandler, Session

logger = logging.getLogger(__name__)

_LOOK: Final = 0.005
"""Seconds between two looks whether all that was read has been answered."""


class PeerServer:
    """The :class:`~parley.socketio.peers.Peers` whose sessions are an engine's own.

    Bring every call of another process here; cancel what that one cancels.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def poll(self, request: Poll) -> PollAnswer:
        """Just as if the request had come here."""

        async def read() -> bytes:
            return request.body

        return await polling.answer(self._engine, request.sid, request.method, read)

    async def end_poll(self, sid: str) -> None:
        session = self._engine.sessions.get(sid)
        if session is not None and isinstance(session.transport, PollingTransport):
            session.transport.end_poll()

    async def begin_upgrade(self, sid: str) -> None:
        session = self._engine.sessions.get(sid)
        if session is None:
            raise UpgradeRefused("there is no such session")
        session.probe = _Departure(session)

    async def abandon_upgrade(self, sid: str) -> None:
        departure = self._departure(sid)
        if departure is not None:
            departure.abandon()

    async def take_over(self, sid: str) -> MovedSession:
        departure = self._departure(sid)
        if departure is None:
            raise UpgradeRefused("no upgrade is under way")
        try:
            # Looking costs nobody anything; being told would be one more step for every answer.
            while not departure.ready():  # noqa: ASYNC110
                await asyncio.sleep(_LOOK)
            return departure.leave()
        finally:
            departure.abandon()  # unless it has left

    def _departure(self, sid: str) -> _Departure | None:
        session = self._engine.sessions.get(sid)
        probe = session.probe if session is not None else None
        return probe if isinstance(probe, _Departure) else None


class _Departure:
    """A session that a WebSocket in another process is about to take over.

    If that doesn't come about within ``upgrade_timeout``, the session stays.
    """

    def __init__(self, session: Session) -> None:
        """Raises UpgradeRefused if the session can't move."""
        if session.probe is not None or not isinstance(session.transport, PollingTransport):
            raise UpgradeRefused("it is on a WebSocket, or moves to another one")
        if not isinstance(session.handler, MovableHandler):
            raise UpgradeRefused("its handler can't move")
        self._session = session
        self._polling = session.transport
        self._handler = session.handler
        self._check()
        self._deadline = Deadline(self.abandon)
        engine = session.engine
        engine.deadlines.arm(self._deadline, engine.options.upgrade_timeout)
        self._polling.begin_upgrade(leaving=True)

    def close(self, reason: CloseReason) -> None:
        """The session has ended."""
        self._session.engine.deadlines.cancel(self._deadline)

    def abandon(self) -> None:
        """It stays; harmless if it has ended."""
        if self._session.probe is self:
            self._session.probe = None
            self._session.engine.deadlines.cancel(self._deadline)
            self._polling.abandon_upgrade()

    def ready(self) -> bool:
        """True when everything that its client sent has been answered.

        Raises:
            UpgradeRefused: the session has ended.
        """
        if self._session.probe is not self:
            raise UpgradeRefused("the session has ended, or stays")
        return not self._session.busy and not self._polling.posting and self._handler.settled()

    def leave(self) -> MovedSession:
        """The session as it is; from now on it isn't here any more.

        Raises:
            UpgradeRefused: it can't be exported, and stays.
        """
        self._check()
        session = self._session
        try:
            connection = self._handler.export()
        except Exception as exc:
            fault(logger, "a socket can't be exported")
            raise UpgradeRefused("a socket can't be exported") from exc
        outbox = self._polling.take_all()
        session.close(CloseReason.MOVED)
        return MovedSession(session.sid, session.handshake, connection, outbox)

    def _check(self) -> None:
        if not self._handler.movable():
            raise UpgradeRefused("a namespace of it can't move")
