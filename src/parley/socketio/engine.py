"""All Engine.IO sessions of one server in this process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Final

import msgspec

from parley.incidents import Incident, tell
from parley.socketio.batch import Batch
from parley.socketio.deadlines import Deadline, Deadlines
from parley.socketio.handshake import Handshake
from parley.socketio.limiter import Limiter
from parley.socketio.options import Options
from parley.socketio.origins import Origins
from parley.socketio.peers import NODE_LENGTH, RANDOM_BYTES, MovedSession, NoPeers, Peers, node_of
from parley.socketio.protocol import (
    BAD_VERSION,
    FORBIDDEN,
    OPEN,
    PROTOCOL_VERSION,
    TOO_MANY,
    UNKNOWN_TRANSPORT,
    CloseReason,
    Problem,
)
from parley.socketio.session import Handler, Session, Transport

logger = logging.getLogger(__name__)

_USUAL: Final = frozenset(
    {
        CloseReason.CLIENT_NAMESPACE,
        CloseReason.SERVER_NAMESPACE,
        CloseReason.TRANSPORT_CLOSE,
        CloseReason.TRANSPORT_ERROR,
        CloseReason.SHUTDOWN,
        CloseReason.MOVED,
    }
)
"""Ends that were the client's wish, the network's, or an operator's; others are told."""
LAST_FETCH: Final = 1.0
"""Seconds that a polling client has, when the server stops, to fetch its last answers."""


class Engine:
    """Opens, finds, moves and closes sessions."""

    def __init__(
        self,
        options: Options,
        accept: Callable[[Session], Handler],
        *,
        node: str = "",
        peers: Peers | None = None,
    ) -> None:
        """``node`` is this process's name among its ``peers``; empty if it has none.

        The name has :data:`~parley.socketio.peers.NODE_LENGTH` characters of
        base64's URL-safe alphabet, and no other process has ever had it.
        """
        if len(node) not in (0, NODE_LENGTH):
            raise ValueError(f"a process's name has {NODE_LENGTH} characters")
        self.options = options
        self.origins = Origins(options.origins, encrypted=options.encrypted)
        self.node = node
        self.peers: Peers = peers or NoPeers()
        self.sessions: dict[str, Session] = {}
        resolution = min(0.25, max(0.005, min(options.ping_interval, options.ping_timeout) / 10))
        self.deadlines = Deadlines(resolution)
        self.limiter = Limiter(options.limits, self.deadlines)
        self.draining = False
        self.opened = 0
        """Sessions opened so far."""
        self.moved_in = 0
        """Sessions taken over from other processes so far; those that left are in ``closed``."""
        self.closed: Counter[CloseReason] = Counter()
        """Sessions closed so far, by reason."""
        self.refused: Counter[tuple[int, str]] = Counter()
        """Requests refused so far, by HTTP status and transport."""
        self._lingering: dict[str, tuple[Transport, Deadline]] = {}
        self._accept = accept
        self.batch = Batch()
        self._empty: asyncio.Event | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        """Those under way; the loop itself keeps them only weakly."""

    def open(self, transport: Transport, handshake: Handshake) -> Session:
        """Begin a session; its client must be sent :meth:`open_packet` first."""
        sid = self.node + secrets.token_urlsafe(RANDOM_BYTES)
        address = self.limiter.address(handshake.remote, handshake.headers)
        session = Session(self, sid, transport, handshake, address)
        self.opened += 1
        return self._begin(session)

    def adopt(self, transport: Transport, moved: MovedSession, address: str | None) -> Session:
        """Go on with a session of another process, for a client of that ``address``."""
        session = Session(self, moved.sid, transport, moved.handshake, address)
        self.moved_in += 1
        return self._begin(session)

    def _begin(self, session: Session) -> Session:
        session.transport.attach(session)
        self.sessions[session.sid] = session
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
        return None if self.origins.allow(headers) else FORBIDDEN

    def crowd(self, handshake: Handshake) -> Problem | None:
        """Why one more session can't begin now; None if it may, and then it must."""
        address = self.limiter.address(handshake.remote, handshake.headers)
        return None if self.limiter.admits(address) else TOO_MANY

    def elsewhere(self, sid: str) -> bool:
        """True if a session of that id can only be in another process."""
        return bool(self.node) and node_of(sid) not in ("", self.node) and sid not in self.sessions

    def forget(self, session: Session, reason: CloseReason) -> None:
        """Drop a session that has closed."""
        self.sessions.pop(session.sid, None)
        self.closed[reason] += 1
        if reason not in _USUAL:
            text = "a client was disconnected"
            tell(logger, Incident.CLIENT_CUT, text, reason=reason, subject=reason)
        if self._empty is not None and not self.sessions:
            self._empty.set()

    def refuse(self, status: int, transport: str) -> None:
        """A request or a handshake has been answered with that status, which is no success."""
        self.refused[status, transport] += 1
        kind, text = Incident.REQUEST_REFUSED, "a request was refused"
        subject = f"{transport} {status}"
        tell(logger, kind, text, reason=int(status), subject=subject, transport=transport)

    def sizes(self) -> dict[str, int]:
        """How much is in each internal table; nothing but for its clients."""
        return {
            "sessions": len(self.sessions),
            "lingering_transports": len(self._lingering),
            "deadlines": len(self.deadlines),
            "waiting_requests": len(self._waiting),
            "session_moves": len(self._tasks),
            "unanswered_events": sum(each.in_flight for each in self.sessions.values()),
            **self.limiter.sizes(),
        }

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

    def close(self) -> None:
        """Forget every deadline: there are no sessions any more."""
        self.deadlines.close()
        self.limiter.close()

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something beside everything else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextlib.contextmanager
    def stopping(self) -> Iterator[asyncio.Future[None]]:
        """While a request waits for others: what tells that we are to stop."""
        stopping: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.draining:
            stopping.set_result(None)
        self._waiting.add(stopping)
        try:
            yield stopping
        finally:
            self._waiting.discard(stopping)

    async def drain(self, grace: float) -> None:
        """Open no more sessions, answer what was read, and close every session.

        Takes at most ``grace`` seconds; what is unanswered by then is cut off.
        """
        self.draining = True
        for stopping in self._waiting:
            if not stopping.done():
                stopping.set_result(None)
        self._empty = asyncio.Event()
        with self.batch:
            for session in list(self.sessions.values()):
                session.drain()
        await self._until_empty(min(grace, LAST_FETCH))
        for session in list(self.sessions.values()):
            session.close_unless_busy()
        await self._until_empty(grace - min(grace, LAST_FETCH))
        if self.sessions:
            left = f"{len(self.sessions)} sessions did not end in time"
            text = f"{left}; cutting them off"
            tell(logger, Incident.STOP_CUT_SHORT, text, reason=left)
        for session in list(self.sessions.values()):
            session.close(CloseReason.SHUTDOWN)

    async def _until_empty(self, seconds: float) -> None:
        assert self._empty is not None
        if self.sessions:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)
