"""The opening of a WebSocket: for which engine it is, and whether it may begin.

Sans-I/O: the head of a request in, the answer out.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

import msgspec

from parley.socketio import handshake
from parley.socketio.engine import Engine
from parley.socketio.handshake import BadHandshake, Handshake, Request
from parley.socketio.protocol import BAD_METHOD, BAD_REQUEST, UNKNOWN_SESSION, Problem

NAME: Final = "websocket"
"""Of the transport, in a request's query and in metrics."""


class Opening(NamedTuple):
    """A request that is granted."""

    engine: Engine
    begun: Handshake
    answer: bytes
    """Completes the handshake; the first frame comes behind it."""


def opening(engines: Mapping[str, Engine], head: bytes, peer: object) -> Opening | bytes:
    """Judge the head of a request that an HTTP parser has found well-formed.

    Returns the answer alone if it is refused; that has been counted then.
    ``engines`` are those of each path; ``peer`` is what the transport calls ``peername``.
    """
    remote = str(peer[0]) if isinstance(peer, tuple) else ""
    try:
        request = handshake.parse_request(head)
        engine = engines.get(request.path)
        if engine is None:
            problem = Problem(3, "There is nothing at this path")
            return _refuse(engines, HTTPStatus.NOT_FOUND, problem)
        begun = Handshake(request.headers, request.query, remote)
        found = _problem(engine, request, begun)
        if found is not None:
            return _refuse(engines, found.status, found, found.headers)
        return Opening(engine, begun, handshake.accept(request))
    except BadHandshake as exc:
        return _refuse(engines, exc.status, Problem(3, str(exc)), exc.headers)


def _problem(engine: Engine, request: Request, begun: Handshake) -> Problem | None:
    if request.method != "GET":
        return BAD_METHOD
    problem = engine.check(request.query, request.headers)
    if problem is not None:
        return problem
    if request.query["transport"] != NAME or engine.draining:
        return BAD_REQUEST
    sid = request.query.get("sid")
    if sid is None:
        return engine.crowd(begun)
    known = sid in engine.sessions or engine.elsewhere(sid)
    return None if known else UNKNOWN_SESSION


def _refuse(
    engines: Mapping[str, Engine],
    status: HTTPStatus,
    problem: Problem,
    headers: tuple[tuple[str, str], ...] = (),
) -> bytes:
    for engine in engines.values():  # which one was meant may be unknown
        engine.refuse(status, NAME)
    return handshake.refuse(status, msgspec.json.encode(problem), headers)
