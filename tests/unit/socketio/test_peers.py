"""Polling requests that reach another process than the one that holds their session."""

from __future__ import annotations

import asyncio
from itertools import product

import msgspec
import pytest

from parley.socketio.engine import Engine
from parley.socketio.options import Options
from parley.socketio.peer_server import PeerServer
from parley.socketio.peers import NODE_LENGTH, NoPeers, PeerGone, Peers, PeerUnreachable, node_of
from parley.socketio.protocol import CloseReason
from parley.socketio.session import State

from . import Told, in_virtual_time, settle
from .processes import A, B, Cluster, Links
from .test_polling import BAD_REQUEST, UNKNOWN_SESSION, PollingClient

BAD_METHOD = {"code": 2, "message": "Bad handshake method"}


def new_engine(links: Links, name: str, **options: float) -> Engine:
    """One of several processes, whose sessions' handlers are :class:`Told`."""
    bounds = msgspec.convert(options, Options)
    engine = Engine(bounds, lambda session: Told(), node=name, peers=links)
    links.join(name, PeerServer(engine))
    return engine


class Pair:
    """A polling client of one process, and how it reaches the other."""

    def __init__(self, **options: float) -> None:
        self.links = Links()
        self.here = PollingClient(new_engine(self.links, A, **options))
        """By the process that holds the session."""
        self.there = PollingClient(new_engine(self.links, B, **options))

    async def open(self) -> Pair:
        await self.here.open()
        self.there.sid = self.here.sid
        return self


# The ids of sessions


async def test_the_id_of_a_session_names_its_process() -> None:
    client = await PollingClient(new_engine(Links(), A)).open()
    assert client.sid is not None
    assert node_of(client.sid) == A
    assert len(client.sid) == NODE_LENGTH + 20


async def test_a_process_by_itself_has_no_name() -> None:
    client = await PollingClient().open()
    assert client.sid is not None
    assert len(client.sid) == 20
    assert not client.engine.elsewhere(A + client.sid)


@pytest.mark.parametrize("name", ["a", "a" * (NODE_LENGTH + 1)])
def test_a_name_has_its_length(name: str) -> None:
    with pytest.raises(ValueError, match="8 characters"):
        Engine(Options(), lambda session: Told(), node=name)


@pytest.mark.parametrize(
    ("sid", "elsewhere"),
    [
        (B + "x" * 20, True),
        (B + "-_09azAZ" + "x" * 12, True),
        (A + "x" * 20, False),
        ("", False),
        (B, False),
        (B + "x" * 19, False),
        (B + "x" * 21, False),
        (B + "x" * 19 + "\n", False),
        (B + "x" * 19 + "é", False),
        (B + "x" * 19 + ":", False),
        ("x" * 100_000, False),
    ],
)
async def test_only_what_may_be_an_id_is_looked_for_elsewhere(sid: str, elsewhere: bool) -> None:
    links = Links()
    engine = new_engine(links, A)
    assert engine.elsewhere(sid) == elsewhere
    if not elsewhere:
        for method in ("GET", "POST"):
            client = PollingClient(engine)
            answer = await client.request(method, query={"sid": sid}).answered()
            assert answer.problem == UNKNOWN_SESSION
        assert links.calls == []


async def test_a_process_without_peers_knows_of_none() -> None:
    peers: Peers = NoPeers()
    for asked in (peers.begin_upgrade, peers.abandon_upgrade, peers.take_over, peers.end_poll):
        with pytest.raises(PeerGone):
            await asked("nobody")
    client = PollingClient(Engine(Options(), lambda session: Told(), node=A))
    answer = await client.request("GET", query={"sid": B + "x" * 20}).answered()
    assert (answer.status, answer.problem) == (400, UNKNOWN_SESSION)


# What is passed on


@pytest.mark.parametrize("ways", list(product((True, False), repeat=3)))
async def test_requests_may_reach_any_process(ways: tuple[bool, bool, bool]) -> None:
    pair = await Pair().open()
    told = pair.here.told
    first, second, third = (pair.there if way else pair.here for way in ways)
    poll = first.request("GET")
    await settle()
    assert not poll.task.done()
    assert (await second.post(b"4one", b"4two", b"bAP8=")).body == b"ok"
    assert told.messages == ["one", "two", b"\x00\xff"]
    pair.here.session.send(b"4down")
    assert (await poll.answered()).body == b"4down"
    pair.here.session.send(b"4again")
    pair.here.session.send_binary(b"\x00\xff")
    assert await third.poll() == b"4again\x1ebAP8="
    assert poll.headers["content-type"] == "text/plain; charset=UTF-8"
    assert told.closed == []


async def test_origins_are_allowed_where_the_request_arrives() -> None:
    pair = await Pair().open()
    pair.here.session.send(b"4down")
    answer = await pair.there.request("GET", origin="https://parley.test").answered()
    assert answer.headers["access-control-allow-origin"] == "https://parley.test"
    assert answer.headers["cache-control"] == "no-store"
    before = list(pair.links.calls)
    refused = await pair.there.request("GET", origin="https://evil.test").answered()
    assert refused.status == 403
    preflight = await pair.there.request("OPTIONS", origin="https://parley.test").answered()
    assert preflight.status == 204
    assert pair.links.calls == before


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
async def test_other_methods_are_not_passed_on(method: str) -> None:
    pair = await Pair().open()
    answer = await pair.there.request(method).answered()
    assert (answer.status, answer.problem) == (400, BAD_METHOD)
    assert pair.links.calls == []


async def test_the_other_transport_is_not_passed_on() -> None:
    pair = await Pair().open()
    answer = await pair.there.request("GET", query={"transport": "websocket"}).answered()
    assert (answer.status, answer.problem) == (400, BAD_REQUEST)
    assert pair.links.calls == []


async def test_the_heartbeat_needs_no_certain_process() -> None:
    pair = await Pair().open()
    poll = pair.there.request("GET")
    await settle()
    pair.here.session.send(b"2")
    assert (await poll.answered()).body == b"2"
    assert (await pair.there.post(b"3")).status == 200


@pytest.mark.parametrize("first_there", [True, False])
async def test_a_second_poll_by_another_process_ends_the_session(first_there: bool) -> None:
    pair = await Pair().open()
    told = pair.here.told
    one, two = (pair.there, pair.here) if first_there else (pair.here, pair.there)
    held = one.request("GET")
    await settle()
    second = await two.request("GET").answered()
    assert (second.status, second.problem) == (400, BAD_REQUEST)
    assert (await held.answered()).body == b"1"
    assert told.closed == [CloseReason.TRANSPORT_ERROR]


async def test_last_words_may_be_fetched_by_another_process() -> None:
    pair = await Pair().open()
    pair.here.session.send(b"4last words")
    pair.here.session.close(CloseReason.FORCED)
    assert await pair.there.poll() == b"4last words"
    for client in (pair.there, pair.here):
        assert (await client.request("GET").answered()).problem == UNKNOWN_SESSION


async def test_a_client_that_closes_by_another_process_gets_its_poll_back() -> None:
    pair = await Pair().open()
    told = pair.here.told
    poll = pair.there.request("GET")
    await settle()
    await pair.there.post(b"1")
    assert (await poll.answered()).body == b"6"
    assert told.closed == [CloseReason.TRANSPORT_CLOSE]


# Clients that go away, and bodies that are bad


async def test_who_hangs_up_a_poll_at_another_process_has_gone() -> None:
    pair = await Pair().open()
    told = pair.here.told
    poll = pair.there.request("GET")
    await settle()
    poll.hang_up()
    await poll.answered()
    assert poll.status == 0
    assert told.closed == [CloseReason.TRANSPORT_CLOSE]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_that_is_cut_off_ends_the_session(method: str) -> None:
    pair = await Pair(max_in_flight=1).open()
    session, told = pair.here.session, pair.here.told
    told.on_message = session.hold
    request = pair.there.request(method, [b"4one\x1e4two"])
    await settle()
    request.task.cancel()
    await settle()
    assert len(told.closed) == 1
    assert session.state is State.CLOSED


async def test_a_body_over_the_bound_is_not_passed_on() -> None:
    pair = await Pair(max_payload=100).open()
    told = pair.here.told
    assert (await pair.there.post(b"4" + b"x" * 99)).status == 200
    answer = await pair.there.request("POST", [b"4", b"x" * 60, b"y" * 60, b"z" * 60]).answered()
    assert answer.status == 413
    assert told.messages == ["x" * 99]
    assert told.closed == [CloseReason.TRANSPORT_CLOSE]


async def test_who_hangs_up_amid_a_post_to_another_process_has_gone() -> None:
    pair = await Pair().open()
    told = pair.here.told
    post = pair.there.request("POST", None)
    await settle()
    post.hang_up()
    await post.answered()
    assert post.status == 0
    assert told.closed == [CloseReason.TRANSPORT_CLOSE]


def test_a_body_that_does_not_come_to_another_process_ends_the_session() -> None:
    async def run() -> None:
        pair = await Pair(ping_interval=1000).open()
        told = pair.here.told
        post = pair.there.request("POST", None)
        await asyncio.sleep(31)
        assert (await post.answered()).status == 408
        assert told.closed == [CloseReason.TRANSPORT_CLOSE]

    in_virtual_time(run())


@pytest.mark.parametrize("body", [b"", b"4ok\x1e", b"4\xff", b"b*", b"nonsense"])
async def test_a_bad_payload_that_was_passed_on_ends_the_session(body: bytes) -> None:
    pair = await Pair().open()
    told = pair.here.told
    answer = await pair.there.request("POST", [body]).answered()
    assert (answer.status, answer.problem) == (400, BAD_REQUEST)
    assert told.closed == [CloseReason.PARSE_ERROR]


# Processes that go away


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_who_asks_for_a_session_of_a_dead_process_begins_a_new_one(method: str) -> None:
    pair = await Pair().open()
    pair.links.leave(A)
    answer = await pair.there.request(method, [b"4x"]).answered()
    assert (answer.status, answer.problem) == (400, UNKNOWN_SESSION)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_who_asks_for_a_session_out_of_reach_is_told_so(method: str) -> None:
    pair = await Pair().open()
    pair.links.errors["poll"] = PeerUnreachable()
    answer = await pair.there.request(method, [b"4x"]).answered()
    assert answer.status == 503
    assert answer.headers["content-type"] == "application/json"
    assert "can't be reached" in answer.body.decode()
    assert pair.here.session.state is State.OPEN


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_answer_that_is_lost_on_its_way_back_is_not_given(method: str) -> None:
    pair = await Pair().open()
    pair.here.session.send(b"4down")
    pair.links.lost["poll"] = PeerUnreachable()
    answer = await pair.there.request(method, [b"4up"]).answered()
    assert answer.status == 503


async def test_a_body_that_is_bad_is_refused_though_the_session_is_out_of_reach() -> None:
    pair = await Pair(max_payload=10).open()
    pair.links.errors["poll"] = PeerUnreachable()
    assert (await pair.there.post(b"4" + b"x" * 20)).status == 413


# Processes that stop


async def test_a_process_that_stops_ends_the_polls_that_it_passed_on() -> None:
    pair = await Pair().open()
    poll = pair.there.request("GET")
    await settle()
    await pair.there.engine.drain(grace=1)
    assert (await poll.answered()).body == b"6"
    assert poll.headers["connection"] == "close"  # the next one will reach another process
    assert pair.here.told.closed == []
    assert await pair.there.poll() == b"6"
    pair.here.session.send(b"4down")
    assert await pair.here.poll() == b"4down"


async def test_a_process_that_stops_does_not_wait_for_one_out_of_reach() -> None:
    pair = await Pair().open()
    poll = pair.there.request("GET")
    await settle()
    pair.links.errors["end_poll"] = PeerUnreachable()
    await pair.there.engine.drain(grace=1)
    assert (await poll.answered()).status == 503


async def test_the_polls_of_ended_sessions_need_not_be_ended() -> None:
    server = PeerServer(new_engine(Links(), A))
    await server.end_poll(A + "x" * 20)  # nothing is raised


async def test_a_session_that_drains_is_not_posted_to_by_another_process() -> None:
    pair = await Pair().open()
    session, told = pair.here.session, pair.here.told
    session.hold()
    draining = asyncio.create_task(pair.here.engine.drain(grace=1000))
    await settle()
    assert (await pair.there.post(b"4late")).problem == BAD_REQUEST
    session.send(b"4answer")
    session.release()
    assert await pair.there.poll() == b"4answer"
    await asyncio.wait_for(draining, 5)
    assert (told.messages, told.closed) == ([], [CloseReason.SHUTDOWN])


async def test_a_poll_under_way_when_the_link_breaks_ends_its_session() -> None:
    cluster = await Cluster().joined()
    poll = cluster.by(cluster.b).request("GET")
    await settle()
    cluster.links.cut()
    assert (await poll.answered()).status == 503
    assert cluster.a.left == [CloseReason.TRANSPORT_CLOSE]
