"""Long-polling over HTTP: the Starlette endpoint of one engine.

Requests for sessions of other processes are passed on, once they have been
checked as far as that can be done here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from parley.socketio import polling
from parley.socketio.engine import LAST_FETCH, Engine
from parley.socketio.handshake import Handshake
from parley.socketio.peers import PeerGone, PeerUnreachable, Poll, PollAnswer
from parley.socketio.polling import BadBody, PollingTransport, refused
from parley.socketio.protocol import (
    BAD_METHOD,
    BAD_REQUEST,
    CLOSE,
    TOO_LARGE,
    TOO_MANY,
    TOO_SLOW,
    UNKNOWN_SESSION,
    UNREACHABLE,
    CloseReason,
)

_BODY_TIMEOUT: Final = 30.0
"""Seconds that the body of a POST may take to arrive."""
_DIGITS: Final = 15
"""Of the longest length that is worth reading.  The HTTP parser has seen to it that they are."""


class PollingEndpoint:
    """The ASGI application that serves one engine's path over HTTP."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._respond(request)
        if response is not None:
            self._allow_origin(request, response)
            await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response | None:
        if request.method == "OPTIONS" and self._engine.origins.allow(request.headers):
            return self._preflight(request)
        try:
            answer = await self._answer(request)
        except ClientDisconnect:
            return None
        if answer.status != HTTPStatus.OK:
            self._engine.refuse(answer.status, PollingTransport.name)
        response = Response(answer.body, answer.status, media_type=answer.media_type)
        if answer.status == TOO_MANY.status:
            response.headers.update(dict(TOO_MANY.headers))
        if self._engine.draining and self._engine.elsewhere(request.query_params.get("sid", "")):
            # We stop, the session doesn't: its next request had better reach a process that stays.
            response.headers["Connection"] = "close"
        return response

    async def _answer(self, request: Request) -> PollAnswer:
        """Raises ClientDisconnect if there is nobody to be answered."""
        query = request.query_params
        problem = self._engine.check(query, request.headers)
        if problem is not None:
            return refused(problem)
        if query["transport"] != PollingTransport.name:
            return refused(BAD_REQUEST)
        sid = query.get("sid")
        if sid is None:
            return self._open(request)
        if self._engine.elsewhere(sid):
            return await self._pass_on(request, sid)
        read = partial(self._read, request)
        answering = polling.answer(self._engine, sid, request.method, read)
        if request.method == "GET" and self._is_held(sid):
            return await self._while_connected(request, answering)
        return await answering

    def _open(self, request: Request) -> PollAnswer:
        if request.method != "GET":
            return refused(BAD_METHOD)
        if self._engine.draining:
            return refused(BAD_REQUEST)
        remote = request.client.host if request.client else ""
        handshake = Handshake(_joined(request.headers), dict(request.query_params), remote)
        problem = self._engine.crowd(handshake)
        if problem is not None:
            return refused(problem)
        transport = PollingTransport()
        session = self._engine.open(transport, handshake)
        return polling.payload(self._engine.open_packet(session))

    def _is_held(self, sid: str) -> bool:
        session = self._engine.sessions.get(sid)
        transport = session.transport if session is not None else None
        return isinstance(transport, PollingTransport) and transport.holds()

    async def _while_connected(
        self, request: Request, answering: Coroutine[Any, Any, PollAnswer]
    ) -> PollAnswer:
        """Cancels ``answering`` if the client goes away."""
        answer = asyncio.ensure_future(answering)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientDisconnect
            return answer.result()
        finally:
            gone.cancel()
            if answer.cancel():
                await asyncio.wait((answer,))

    async def _read(self, request: Request) -> bytes:
        """The body.

        Raises:
            BadBody: it is too large, or doesn't come.
            ClientDisconnect: the client goes away instead.
        """
        announced = request.headers.get("content-length", "0")
        if len(announced) > _DIGITS or int(announced) > self._engine.options.max_payload:
            raise BadBody(CloseReason.TRANSPORT_ERROR, TOO_LARGE)
        reading = asyncio.ensure_future(self._read_all(request))
        try:
            with self._engine.stopping() as stopping:
                await asyncio.wait(
                    (reading, stopping),
                    timeout=_BODY_TIMEOUT,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            if stopping.done():
                await asyncio.wait((reading,), timeout=LAST_FETCH)
            if not reading.done():
                problem = BAD_REQUEST if stopping.done() else TOO_SLOW
                raise BadBody(CloseReason.PARSE_ERROR, problem)
            return await reading
        finally:
            if reading.cancel():
                await asyncio.wait((reading,))

    async def _read_all(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._engine.options.max_payload:
                raise BadBody(CloseReason.TRANSPORT_ERROR, TOO_LARGE)
        return bytes(body)

    # -- sessions of other processes

    async def _pass_on(self, request: Request, sid: str) -> PollAnswer:
        try:
            if request.method == "GET":
                return await self._while_connected(request, self._hold_elsewhere(sid))
            if request.method == "POST":
                return await self._post_elsewhere(request, sid)
        except PeerGone:
            return refused(UNKNOWN_SESSION)
        except PeerUnreachable:
            return refused(UNREACHABLE)
        return refused(BAD_METHOD)

    async def _hold_elsewhere(self, sid: str) -> PollAnswer:
        peers = self._engine.peers
        answer = asyncio.ensure_future(peers.poll(Poll(sid, "GET")))
        try:
            with self._engine.stopping() as stopping:
                await asyncio.wait((answer, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():  # we stop, and the session goes on
                await peers.end_poll(sid)
            return await answer
        finally:
            if answer.cancel():
                await asyncio.wait((answer,))

    async def _post_elsewhere(self, request: Request, sid: str) -> PollAnswer:
        # A second one meanwhile isn't noticed, as it would be here; clients send one at a time.
        peers = self._engine.peers
        try:
            body = await self._read(request)
        except (BadBody, ClientDisconnect) as exc:
            # As it would here, that ends the session.
            with contextlib.suppress(PeerGone, PeerUnreachable):
                await peers.poll(Poll(sid, "POST", CLOSE))
            if isinstance(exc, ClientDisconnect):
                raise
            return refused(exc.problem)
        return await peers.poll(Poll(sid, "POST", body))

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
        origins, origin = self._engine.origins, request.headers.get("origin")
        if origins.any:
            response.headers["Access-Control-Allow-Origin"] = "*"
        elif origin is not None and origins.allow(request.headers):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"


def _joined(headers: Headers) -> dict[str, str]:
    """Repeated ones joined by commas (RFC 9110 section 5.3)."""
    return {name: ", ".join(headers.getlist(name)) for name in headers}


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
