"""The HTTP long-polling transport: a Starlette endpoint and what it serves.

A client fetches what waits for it with GET, and sends with POST.  A GET with
nothing to fetch is held until there is something.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from parley.socketio import engine, payloads
from parley.socketio.engine import CloseReason, Engine, Handshake, Session, State
from parley.socketio.payloads import PayloadError

_RECHECK: Final = 0.1
"""Seconds after which a poll is answered with a noop while an upgrade is under way."""
_TEXT: Final = "text/plain; charset=UTF-8"
_MAX_PACKETS: Final = 16
"""Packets of one payload; Python's client takes no more (``Payload.max_decode_packets``)."""
_CLIENT_AT_FAULT: Final = (CloseReason.PARSE_ERROR, CloseReason.TRANSPORT_ERROR)
"""Ends after which a client gets Engine.IO's CLOSE, and so needn't come back by itself."""
_BODY_TIMEOUT: Final = 30.0
"""Seconds that the body of a POST may take to arrive."""


class PollingTransport:
    """What waits for a polling client, and the GET that waits for it."""

    __slots__ = (
        "_outbox",
        "_outbox_size",
        "_session",
        "ended",
        "posting",
        "upgrading",
        "waiter",
    )

    name = "polling"

    def __init__(self) -> None:
        self._session: Session
        self._outbox: list[bytes] = []
        self._outbox_size = 0
        self.waiter: asyncio.Future[None] | None = None
        """Present while a GET is being held."""
        self.posting = False
        """A POST is being read or handed over."""
        self.ended: CloseReason | None = None
        """Why it was closed, once it was."""
        self.upgrading = False
        """A WebSocket has been told that it may take over."""

    # -- engine.Transport

    def attach(self, session: Session) -> None:
        self._session = session

    def send_text(self, packet: bytes) -> None:
        self._queue(packet)

    def send_binary(self, content: bytes) -> None:
        self._queue(payloads.encode_binary(content))

    def flush(self) -> None:
        if self._outbox:
            self._wake()

    def pause(self) -> None:
        """Nothing to do: a POST under way looks for itself."""

    def resume(self) -> None:
        """Nothing to do, likewise."""

    def drained(self) -> bool:
        return not self.posting and not self._outbox

    def unsent(self) -> int:
        return 0  # an HTTP response on its way is not ours to see

    def close(self, reason: CloseReason) -> None:
        self.ended = reason
        if reason in _CLIENT_AT_FAULT:
            self._outbox.append(engine.CLOSE)
        elif reason is CloseReason.FORCED and self._outbox:
            self._session.engine.linger(self._session)  # its next polls still get these
        self._wake()

    # -- for the endpoint

    def begin_poll(self) -> asyncio.Future[None] | None:
        """What a GET has to wait for; None if there is something to fetch already.

        :meth:`end_poll` must follow in the former case.
        """
        if self._outbox:
            return None
        self.waiter = asyncio.get_running_loop().create_future()
        return self.waiter

    def end_poll(self) -> None:
        """The GET is not held any longer."""
        self.waiter = None

    def take(self) -> bytes:
        """A payload of what waits now; a noop if nothing does."""
        packets = self._outbox[:_MAX_PACKETS]
        del self._outbox[:_MAX_PACKETS]
        weigh = self._session.engine.options.outbox_weight
        taken = sum(map(weigh, packets))
        # What came while a GET was held was not counted.
        self._outbox_size = max(0, self._outbox_size - taken) if self._outbox else 0
        if self._session.state is State.DRAINING:
            asyncio.get_running_loop().call_soon(self._session.drain)
        return payloads.encode_payload(packets or [engine.NOOP])

    async def post(self, packets: list[tuple[bool, bytes]]) -> None:
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
        with session.engine.batch:
            for _ in range(engine.TURN):
                if not waiting or session.paused:
                    break
                binary, content = waiting.popleft()
                if binary:
                    session.receive_binary(content)
                else:
                    session.receive_text(content)
        return bool(waiting)

    def end_post(self) -> None:
        """The POST has been handed over, or given up."""
        self.posting = False
        if self._session.state is State.DRAINING:
            self._session.drain()

    # -- for the WebSocket that takes over

    def begin_upgrade(self) -> None:
        """The client is about to change over: end its polls soon, so that it can."""
        self.upgrading = True
        self._wake()

    def abandon_upgrade(self) -> None:
        """It is not, after all."""
        self.upgrading = False

    def hand_over(self, transport: engine.Transport) -> None:
        """Pass on what waits; end a poll that is still held."""
        outbox, self._outbox = self._outbox, []
        for packet in outbox:
            binary, content = payloads.decode_packet(packet)
            if binary:
                transport.send_binary(content)
            else:
                transport.send_text(content)
        self._wake()

    # -- within

    def _queue(self, packet: bytes) -> None:
        if self._outbox_size >= self._session.engine.options.max_outbox:
            self._session.close(CloseReason.SLOW)
            return
        if not self._outbox:
            self._session.engine.batch.add(self)
        self._outbox.append(packet)
        if self.waiter is None:
            self._outbox_size += self._session.engine.options.outbox_weight(packet)

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class PollingEndpoint:
    """The ASGI application that serves one engine's path over HTTP."""

    def __init__(self, served: Engine) -> None:
        self._engine = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._respond(request)
        if response is not None:
            self._allow_origin(request, response)
            await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response | None:
        if request.method == "OPTIONS":
            return self._preflight(request)
        query, headers = request.query_params, request.headers
        problem = self._engine.check(query, headers)
        if problem is engine.UNKNOWN_SESSION and request.method == "GET":
            last_words = self._last_words(query["sid"])
            if last_words is not None:
                return last_words
        if problem is not None:
            return _refused(problem)
        if query["transport"] != PollingTransport.name:
            return _refused(engine.BAD_REQUEST)
        if "sid" not in query:
            return self._open(request)
        session = self._engine.sessions[query["sid"]]
        if not isinstance(session.transport, PollingTransport):
            return _refused(engine.BAD_REQUEST)
        if request.method == "GET":
            return await self._get(request, session, session.transport)
        if request.method == "POST" and session.state is not State.OPEN:
            return _refused(engine.BAD_REQUEST)
        if request.method == "POST":
            return await self._post(request, session, session.transport)
        return _refused(engine.BAD_METHOD)

    def _last_words(self, sid: str) -> Response | None:
        """What a session that the server closed still had for its client."""
        transport = self._engine.lingering(sid)
        if not isinstance(transport, PollingTransport):
            return None
        response = None
        if not transport.drained():
            response = Response(transport.take(), media_type=_TEXT)
        if transport.drained():
            self._engine.stop_lingering(sid)
        return response

    def _open(self, request: Request) -> Response:
        if request.method != "GET":
            return _refused(engine.BAD_METHOD)
        if self._engine.draining:
            return _refused(engine.BAD_REQUEST)
        transport = PollingTransport()
        remote = request.client.host if request.client else ""
        handshake = Handshake(dict(request.headers), dict(request.query_params), remote)
        session = self._engine.open(transport, handshake)
        return Response(self._engine.open_packet(session), media_type=_TEXT)

    async def _get(
        self, request: Request, session: Session, transport: PollingTransport
    ) -> Response | None:
        if transport.waiter is not None:
            session.close(CloseReason.TRANSPORT_ERROR)
            return _refused(engine.BAD_REQUEST)
        # Within one turn of the loop: another request must not come between.
        waiter = transport.begin_poll()
        if waiter is not None:
            gone = asyncio.ensure_future(_disconnected(request))
            timeout = _RECHECK if transport.upgrading else None
            try:
                await asyncio.wait(
                    (waiter, gone), timeout=timeout, return_when=asyncio.FIRST_COMPLETED
                )
                if gone.done() and not waiter.done():
                    session.close(CloseReason.TRANSPORT_CLOSE)
                    return None
            finally:
                transport.end_poll()
                gone.cancel()
        return Response(transport.take(), media_type=_TEXT)

    async def _post(
        self, request: Request, session: Session, transport: PollingTransport
    ) -> Response | None:
        if transport.posting:
            session.close(CloseReason.TRANSPORT_ERROR)
            return _refused(engine.BAD_REQUEST)
        transport.posting = True
        try:
            return await self._read_post(request, session, transport)
        finally:
            transport.end_post()

    async def _read_post(
        self, request: Request, session: Session, transport: PollingTransport
    ) -> Response | None:
        try:
            async with asyncio.timeout(_BODY_TIMEOUT):
                body = await _read(request, self._engine.options.max_payload)
            if body is None:
                session.close(CloseReason.TRANSPORT_ERROR)
                problem = engine.Problem(3, "Payload too large")
                return _refused(problem, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            packets = payloads.decode_payload(body)
        except ClientDisconnect:
            session.close(CloseReason.TRANSPORT_ERROR)
            return None
        except (PayloadError, TimeoutError):
            session.close(CloseReason.PARSE_ERROR)
            return _refused(engine.BAD_REQUEST)
        await transport.post(packets)
        if transport.ended is CloseReason.PARSE_ERROR:
            return _refused(engine.BAD_REQUEST)
        return Response("ok", media_type=_TEXT)

    # -- CORS (the Fetch standard, section 3.2)

    def _preflight(self, request: Request) -> Response:
        response = Response(status_code=HTTPStatus.NO_CONTENT)
        response.headers["Access-Control-Allow-Methods"] = "GET, POST"
        wanted = request.headers.get("access-control-request-headers")
        if wanted is not None:
            response.headers["Access-Control-Allow-Headers"] = wanted
        response.headers["Access-Control-Max-Age"] = "600"
        return response

    def _allow_origin(self, request: Request, response: Response) -> None:
        response.headers["Cache-Control"] = "no-store"
        response.headers["Vary"] = "Origin"
        origin = request.headers.get("origin")
        if origin is not None and self._engine.allows(origin, request.headers.get("host", "")):
            response.headers["Access-Control-Allow-Origin"] = origin
            if "*" not in self._engine.options.origins:
                response.headers["Access-Control-Allow-Credentials"] = "true"


def _refused(problem: engine.Problem, status: HTTPStatus | None = None) -> Response:
    body = msgspec.json.encode(problem)
    return Response(body, status or problem.status, media_type="application/json")


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read(request: Request, limit: int) -> bytes | None:
    """The body; None if it is longer than ``limit``."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)
