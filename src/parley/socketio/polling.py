"""The HTTP long-polling transport, and the answers to its requests.

A client fetches what waits for it with GET, and sends with POST.  A GET with
nothing to fetch is held until there is something.  This module knows requests
as :class:`~parley.socketio.peers.Poll` has them; HTTP is ``endpoint``'s.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, TypeAlias

import msgspec

from parley.socketio import payloads
from parley.socketio.engine import Engine
from parley.socketio.payloads import PayloadError
from parley.socketio.peers import PollAnswer
from parley.socketio.protocol import (
    BAD_METHOD,
    BAD_REQUEST,
    CLOSE,
    NOOP,
    UNKNOWN_SESSION,
    CloseReason,
    Problem,
)
from parley.socketio.session import TURN, Session, State, Transport

_RECHECK: Final = 0.1
"""Seconds after which a poll is answered with a noop while an upgrade is under way."""
_MAX_PACKETS: Final = 16
"""Packets of one payload; Python's client takes no more (``Payload.max_decode_packets``)."""
_TURN_BYTES: Final = 65_536
"""Handed over before others get their turn, like :data:`TURN` packets."""
_CLIENT_AT_FAULT: Final = (CloseReason.PARSE_ERROR, CloseReason.TRANSPORT_ERROR)
"""Ends after which a client gets Engine.IO's CLOSE, and so needn't come back by itself."""

ReadBody: TypeAlias = Callable[[], Awaitable[bytes]]


class BadBody(Exception):
    """The body of a POST can't be had; its session ends with ``reason``."""

    def __init__(self, reason: CloseReason, problem: Problem) -> None:
        super().__init__(problem.message)
        self.reason = reason
        self.problem = problem


class PollingTransport:
    """What waits for a polling client, and the GET that waits for it."""

    __slots__ = (
        "_leaving",
        "_outbox",
        "_outbox_size",
        "_session",
        "_waiter",
        "ended",
        "posting",
        "upgrading",
    )

    name = "polling"

    def __init__(self) -> None:
        self._session: Session
        self._outbox: list[bytes] = []
        self._outbox_size = 0
        self._waiter: asyncio.Future[None] | None = None
        """Present while a GET is being held."""
        self._leaving = False
        self.posting = False
        """A POST is being read or handed over."""
        self.ended: CloseReason | None = None
        """Why it was closed, once it was."""
        self.upgrading = False
        """A WebSocket has been told that it may take over."""

    # -- session.Transport

    def attach(self, session: Session) -> None:
        self._session = session

    def send_text(self, packet: bytes) -> None:
        self._queue(packet)

    def send_binary(self, content: bytes) -> None:
        self._queue(payloads.encode_binary(content))

    def flush(self) -> None:
        if self._outbox:
            self.end_poll()

    def pause(self) -> None:
        """Nothing to do: a POST under way looks for itself."""

    def resume(self) -> None:
        """Nothing to do, likewise."""

    def drained(self) -> bool:
        # Another process that is about to take the session over has its chance.
        return not self.posting and not self._outbox and not self._leaving

    def unsent(self) -> int:
        return 0  # an HTTP response on its way is not ours to see

    def close(self, reason: CloseReason) -> None:
        self.ended = reason
        if reason in _CLIENT_AT_FAULT:
            self._outbox.append(CLOSE)
        elif reason is CloseReason.MOVED or (reason is CloseReason.FORCED and self._outbox):
            self._session.engine.linger(self._session)  # its next polls are still answered
        self.end_poll()

    # -- the requests of its client

    def holds(self) -> bool:
        """True if a GET would have to wait."""
        return not self._outbox and self._waiter is None

    async def get(self) -> PollAnswer:
        """Answer a GET as soon as there is something to fetch.

        One that is cancelled while it is held means that the client has gone.
        """
        if self._waiter is not None:
            self._session.close(CloseReason.TRANSPORT_ERROR)
            return refused(BAD_REQUEST)
        if not self._outbox:
            # No other request comes between this look and the next line.
            await self._hold_poll()
        return payload(self._take())

    async def post(self, read: ReadBody) -> PollAnswer:
        """Answer a POST when all of its packets have been taken.

        ``read`` may raise :class:`BadBody`.  If anything else befalls the
        request the client has gone, and knows not how much was taken.
        """
        session = self._session
        if self.posting:  # which of the two came first can't be told
            session.close(CloseReason.TRANSPORT_ERROR)
            return refused(BAD_REQUEST)
        self.posting = True
        try:
            body = await read()
            session.credit -= len(body)
            if session.credit < 0:
                session.overdraw()
            await self._receive(payloads.decode_payload(body))
        except BadBody as exc:
            session.close(exc.reason)
            return refused(exc.problem)
        except PayloadError:
            session.close(CloseReason.PARSE_ERROR)
            return refused(BAD_REQUEST)
        except BaseException:
            session.close(CloseReason.TRANSPORT_ERROR)
            raise
        finally:
            self.posting = False
            if session.state is State.DRAINING:
                session.drain()
        if self.ended is CloseReason.PARSE_ERROR:
            return refused(BAD_REQUEST)
        return payload(b"ok")

    def end_poll(self) -> None:
        """Answer a GET that is being held."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def last_words(self) -> PollAnswer | None:
        """A part of what still waited at the end; None if nothing does."""
        return payload(self._take()) if self._outbox else None

    # -- for the WebSocket that takes over

    def begin_upgrade(self, *, leaving: bool = False) -> None:
        """The client is about to change over: end its polls soon, so that it can.

        ``leaving``: to another process.
        """
        self.upgrading = True
        self._leaving = leaving
        self.end_poll()

    def abandon_upgrade(self) -> None:
        """It is not, after all."""
        self.upgrading = self._leaving = False
        if self._session.state is State.DRAINING:
            self._session.drain()

    def take_all(self) -> list[tuple[bool, bytes]]:
        """What waits, in order, which is the caller's then: whether it is binary, and the packet.

        A poll that is still held ends.
        """
        outbox, self._outbox = self._outbox, []
        self.end_poll()
        return [payloads.decode_packet(packet) for packet in outbox]

    # -- within

    def _queue(self, packet: bytes) -> None:
        if self._outbox_size >= self._session.engine.options.max_outbox:
            self._session.close(CloseReason.SLOW)
            return
        if not self._outbox:
            self._session.engine.batch.add(self)
        self._outbox.append(packet)
        if self._waiter is None:
            self._outbox_size += self._session.engine.options.outbox_weight(packet)

    async def _hold_poll(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait((self._waiter,), timeout=_RECHECK if self.upgrading else None)
        except asyncio.CancelledError:
            self._session.close(CloseReason.TRANSPORT_CLOSE)
            raise
        finally:
            self._waiter = None

    def _take(self) -> bytes:
        """A payload of what waits now; a noop if nothing does."""
        packets = self._outbox[:_MAX_PACKETS]
        del self._outbox[:_MAX_PACKETS]
        weigh = self._session.engine.options.outbox_weight
        taken = sum(map(weigh, packets))
        # What came while a GET was held was not counted.
        self._outbox_size = max(0, self._outbox_size - taken) if self._outbox else 0
        if self._session.state is State.DRAINING:
            asyncio.get_running_loop().call_soon(self._session.drain)
        return payloads.encode_payload(packets or [NOOP])

    async def _receive(self, packets: list[tuple[bool, bytes]]) -> None:
        """Hand packets to the session, as fast as it takes them.

        Also if the client has changed over to a WebSocket meanwhile.
        """
        session = self._session
        waiting = deque(packets)
        while session.state is not State.CLOSED:
            await session.resumed()
            if not self._hand_over(waiting):
                return
            await asyncio.sleep(0)

    def _hand_over(self, waiting: deque[tuple[bool, bytes]]) -> bool:
        """Give the session what it takes in this turn; False if there is no more."""
        session = self._session
        room = _TURN_BYTES
        with session.engine.batch:
            for _ in range(TURN):
                if not waiting or session.paused or room <= 0:
                    break
                binary, content = waiting.popleft()
                room -= len(content)
                if binary:
                    session.receive_binary(content)
                else:
                    session.receive_text(content)
        return bool(waiting)


async def answer(engine: Engine, sid: str, method: str, read: ReadBody) -> PollAnswer:
    """Answer a request for a session of this process, or for one that was.

    One that is cancelled means that its client has gone.
    """
    session = engine.sessions.get(sid)
    if session is None:
        return _answer_late(engine, sid, method)
    transport: Transport = session.transport
    if not isinstance(transport, PollingTransport):
        return refused(BAD_REQUEST)
    if method == "GET":
        return await transport.get()
    if method == "POST" and session.state is State.OPEN:
        return await transport.post(read)
    return refused(BAD_REQUEST if method == "POST" else BAD_METHOD)


def _answer_late(engine: Engine, sid: str, method: str) -> PollAnswer:
    """The session has ended; maybe it still had something for its client."""
    transport = engine.lingering(sid)
    if not isinstance(transport, PollingTransport):
        return refused(UNKNOWN_SESSION)
    if transport.ended is CloseReason.MOVED:
        return refused(BAD_REQUEST)  # as it is while a session lives on a WebSocket
    if method != "GET":
        return refused(UNKNOWN_SESSION)
    last_words = transport.last_words()
    if transport.holds():
        engine.stop_lingering(sid)
    return last_words or refused(UNKNOWN_SESSION)


def payload(body: bytes) -> PollAnswer:
    """The answer to a request that is granted."""
    return PollAnswer(HTTPStatus.OK, body, "text/plain; charset=UTF-8")


def refused(problem: Problem) -> PollAnswer:
    """The answer to a request that is refused."""
    return PollAnswer(problem.status, msgspec.json.encode(problem), "application/json")
