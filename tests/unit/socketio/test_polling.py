"""Long-polling, at the boundary to ASGI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from starlette.types import Message

from parley.socketio.endpoint import PollingEndpoint
from parley.socketio.engine import Engine
from parley.socketio.options import Options
from parley.socketio.protocol import CloseReason
from parley.socketio.session import Session, State

from . import Told, in_virtual_time, new_engine, settle

UNKNOWN_SESSION = {"code": 1, "message": "Session ID unknown"}
BAD_REQUEST = {"code": 3, "message": "Bad request"}


class Request:
    """One HTTP request, from its head to the end of its answer."""

    def __init__(
        self,
        endpoint: PollingEndpoint,
        method: str,
        query: dict[str, str],
        body: Sequence[bytes] | None,
        headers: dict[str, str],
    ) -> None:
        """``body``: its pieces; None if it never comes."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        for number, piece in enumerate(body or (), 1):
            more = number < len(body or ())
            self._incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more})
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": "/socket.io/",
            "query_string": urlencode(query).encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "client": ("192.0.2.1", 4321),
        }
        self.task = asyncio.ensure_future(endpoint(scope, self._incoming.get, self._send))

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]

    def hang_up(self) -> None:
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def answered(self) -> Request:
        await asyncio.wait_for(self.task, 5)
        return self

    @property
    def problem(self) -> object:
        return json.loads(self.body)


class PollingClient:
    """A polling client and its session."""

    def __init__(self, engine: Engine | None = None, **options: float) -> None:
        self.engine = engine or new_engine(**options)
        self.sid: str | None = None
        self._endpoint = PollingEndpoint(self.engine)

    def request(
        self,
        method: str,
        body: Sequence[bytes] | None = (b"",),
        query: dict[str, str] | None = None,
        **headers: str,
    ) -> Request:
        query = {"EIO": "4", "transport": "polling", **(query or {})}
        if self.sid is not None:
            query.setdefault("sid", self.sid)
        headers = {"host": "parley.test", **headers}
        return Request(self._endpoint, method, query, body, headers)

    async def open(self) -> PollingClient:
        answer = await self.request("GET").answered()
        assert answer.status == 200
        assert answer.body[:1] == b"0"
        self.sid = msgspec.json.decode(answer.body[1:])["sid"]
        return self

    async def poll(self) -> bytes:
        answer = await self.request("GET").answered()
        assert answer.status == 200
        return answer.body

    async def post(self, *packets: bytes) -> Request:
        return await self.request("POST", [b"\x1e".join(packets)]).answered()

    @property
    def session(self) -> Session:
        assert self.sid is not None
        return self.engine.sessions[self.sid]

    @property
    def told(self) -> Told:
        handler = self.session.handler
        assert isinstance(handler, Told)
        return handler


# Polling


async def test_open() -> None:
    client = await PollingClient().open()
    handshake = client.session.handshake
    assert handshake is not None
    assert (handshake.headers["host"], handshake.remote) == ("parley.test", "192.0.2.1")


async def test_all_that_waits_is_fetched_at_once() -> None:
    client = await PollingClient().open()
    client.session.send(b"4one")
    client.session.send_binary(b"\x00\xff")
    client.session.send(b"4two")
    assert await client.poll() == b"4one\x1ebAP8=\x1e4two"


async def test_a_poll_is_held_until_there_is_something() -> None:
    client = await PollingClient().open()
    poll = client.request("GET")
    await settle()
    assert not poll.task.done()
    with client.engine.batch:
        client.session.send(b"4one")
        client.session.send(b"4two")
    assert (await poll.answered()).body == b"4one\x1e4two"
    assert poll.headers["content-type"] == "text/plain; charset=UTF-8"


async def test_posted_packets_reach_the_session_in_order() -> None:
    client = await PollingClient().open()
    body = "4one\x1e4zwölf\x1ebAP8=\x1e4three".encode()
    pieces = [body[:3], body[3:9], b"", body[9:]]
    answer = await client.request("POST", pieces).answered()
    assert (answer.status, answer.body) == (200, b"ok")
    assert client.told.messages == ["one", "zwölf", b"\x00\xff", "three"]


async def test_answers_to_a_post_are_one_payload() -> None:
    client = await PollingClient().open()
    session = client.session
    client.told.on_message = lambda: session.send(b"4answer")
    poll = client.request("GET")
    await client.post(*[b"4x"] * 3)
    assert (await poll.answered()).body == b"\x1e".join([b"4answer"] * 3)


async def test_a_second_poll_ends_the_session() -> None:
    client = await PollingClient().open()
    told = client.told
    first = client.request("GET")
    await settle()
    second = await client.request("GET").answered()
    assert (second.status, second.problem) == (400, BAD_REQUEST)
    assert (await first.answered()).body == b"1"
    assert told.closed == [CloseReason.TRANSPORT_ERROR]


async def test_who_hangs_up_a_poll_has_gone() -> None:
    client = await PollingClient().open()
    told = client.told
    poll = client.request("GET")
    await settle()
    poll.hang_up()
    await poll.answered()
    assert poll.status == 0
    assert told.closed == [CloseReason.TRANSPORT_CLOSE]


async def test_a_client_that_closes_gets_its_poll_back() -> None:
    client = await PollingClient().open()
    told = client.told
    poll = client.request("GET")
    await settle()
    await client.post(b"41", b"1", b"42")
    assert (await poll.answered()).body == b"6"
    assert told.messages == ["1"]
    assert told.closed == [CloseReason.TRANSPORT_CLOSE]


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        (CloseReason.PARSE_ERROR, b"4last words\x1e1"),
        # Clients that are told to close don't come back by themselves.
        (CloseReason.FORCED, b"4last words"),
        (CloseReason.SHUTDOWN, b"4last words"),
    ],
)
async def test_a_held_poll_ends_with_the_session(reason: CloseReason, end: bytes) -> None:
    client = await PollingClient().open()
    poll = client.request("GET")
    await settle()
    client.session.send(b"4last words")
    client.session.close(reason)
    assert (await poll.answered()).body == end


async def test_last_words_may_be_fetched_once_after_the_end() -> None:
    client = await PollingClient().open()
    client.session.send(b"4last words")
    client.session.close(CloseReason.FORCED)
    assert await client.poll() == b"4last words"
    answer = await client.request("GET").answered()
    assert (answer.status, answer.problem) == (400, UNKNOWN_SESSION)
    assert len(client.engine.deadlines) == 0


@pytest.mark.parametrize(
    "body", [[b""], [b"4ok\x1e"], [b"4\xff"], [b"b*"], [b"4one", b"\x1e", b"\x1e4two"]]
)
async def test_a_bad_payload_ends_the_session(body: list[bytes]) -> None:
    client = await PollingClient().open()
    told = client.told
    answer = await client.request("POST", body).answered()
    assert (answer.status, answer.problem) == (400, BAD_REQUEST)
    assert told.closed == [CloseReason.PARSE_ERROR]
    assert told.messages == []


async def test_a_bad_packet_is_answered_in_the_same_way() -> None:
    client = await PollingClient().open()
    told = client.told
    answer = await client.post(b"4before", b"nonsense", b"4after")
    assert (answer.status, answer.problem) == (400, BAD_REQUEST)
    assert told.messages == ["before"]
    assert told.closed == [CloseReason.PARSE_ERROR]


def test_the_heartbeat() -> None:
    async def run() -> None:
        client = await PollingClient().open()
        told = client.told
        for _ in range(3):
            poll = client.request("GET")
            await asyncio.sleep(26)
            assert (await poll.answered()).body == b"2"
            await client.post(b"3")
        await asyncio.sleep(46)
        assert told.closed == [CloseReason.PING_TIMEOUT]

    in_virtual_time(run())


async def test_a_body_over_the_bound_is_not_read_on() -> None:
    client = await PollingClient(max_payload=100).open()
    told = client.told
    assert (await client.post(b"4" + b"x" * 99)).status == 200
    answer = await client.request("POST", [b"4", b"x" * 60, b"y" * 60, b"z" * 60]).answered()
    assert answer.status == 413
    assert told.closed == [CloseReason.TRANSPORT_ERROR]
    assert told.messages == ["x" * 99]


async def test_who_hangs_up_amid_a_post_has_gone() -> None:
    client = await PollingClient().open()
    told = client.told
    post = client.request("POST", None)
    await settle()
    post.hang_up()
    await post.answered()
    assert post.status == 0
    assert told.closed == [CloseReason.TRANSPORT_ERROR]


async def test_a_second_post_ends_the_session() -> None:
    """Which of the two came first could not be told."""
    client = await PollingClient().open()
    told = client.told
    client.request("POST", None)
    await settle()
    second = await client.request("POST", [b"4x"]).answered()
    assert (second.status, second.problem) == (400, BAD_REQUEST)
    assert told.closed == [CloseReason.TRANSPORT_ERROR]
    assert told.messages == []


async def test_a_second_poll_in_the_same_turn_ends_the_session_too() -> None:
    client = await PollingClient().open()
    told = client.told
    polls = [client.request("GET"), client.request("GET")]
    answers = [await poll.answered() for poll in polls]
    assert sorted(answer.status for answer in answers) == [200, 400]
    assert told.closed == [CloseReason.TRANSPORT_ERROR]


def test_a_body_that_does_not_come_ends_the_session() -> None:
    async def run() -> None:
        client = await PollingClient(ping_interval=1000).open()
        told = client.told
        post = client.request("POST", None)
        await asyncio.sleep(31)
        assert (await post.answered()).status == 408
        assert told.closed == [CloseReason.PARSE_ERROR]

    in_virtual_time(run())


@pytest.mark.parametrize(
    ("method", "query", "problem"),
    [
        ("GET", {"sid": "nobody"}, UNKNOWN_SESSION),
        ("POST", {"sid": "nobody"}, UNKNOWN_SESSION),
        ("GET", {"transport": "websocket"}, BAD_REQUEST),
        ("GET", {"transport": "x"}, {"code": 0, "message": "Transport unknown"}),
        ("GET", {"EIO": "3"}, {"code": 5, "message": "Unsupported protocol version"}),
        ("PUT", {}, {"code": 2, "message": "Bad handshake method"}),
    ],
)
async def test_bad_requests(method: str, query: dict[str, str], problem: object) -> None:
    client = await PollingClient().open()
    answer = await client.request(method, query=query).answered()
    assert (answer.status, answer.problem) == (400, problem)
    assert client.session.state is State.OPEN


async def test_a_session_begins_with_get() -> None:
    client = PollingClient()
    answer = await client.request("POST").answered()
    assert (answer.status, answer.problem) == (400, {"code": 2, "message": "Bad handshake method"})
    assert client.engine.opened == 0


# Origins


@pytest.mark.parametrize("origin", ["https://app.test", "https://parley.test"])
async def test_answers_name_an_allowed_origin(origin: str) -> None:
    engine = Engine(Options(origins=frozenset({"https://app.test"})), lambda session: Told())
    answer = await PollingClient(engine).request("GET", origin=origin).answered()
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["cache-control"] == "no-store"


async def test_preflight() -> None:
    headers = {"access-control-request-headers": "authorization", "origin": "https://parley.test"}
    answer = await PollingClient().request("OPTIONS", (b"",), {}, **headers).answered()
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-headers"] == "authorization"
    assert answer.headers["access-control-allow-methods"] == "GET, POST"
    assert answer.headers["access-control-allow-origin"] == "https://parley.test"


async def test_preflight_of_a_page_that_may_not() -> None:
    answer = await PollingClient().request("OPTIONS", (b"",), {}, origin="null").answered()
    assert answer.status == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["vary"] == "Origin"


async def test_a_page_that_may_not_reads_no_answer() -> None:
    client = PollingClient()
    answer = await client.request("GET", origin="https://evil.test").answered()
    assert (answer.status, answer.problem) == (403, {"code": 4, "message": "Forbidden"})
    assert "access-control-allow-origin" not in answer.headers
    assert client.engine.opened == 0


async def test_any_origin_comes_without_credentials() -> None:
    engine = Engine(Options(origins=frozenset("*")), lambda session: Told())
    answer = await PollingClient(engine).request("GET", origin="https://app.test").answered()
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
