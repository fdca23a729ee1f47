"""Socket.IO: joining namespaces, being authorized, and leaving."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable
from typing import Any

import pytest

from parley.socketio.events import Event
from parley.socketio.namespaces import ConnectRefused, ConnectUnavailable, Socket, SocketState
from parley.socketio.options import Options
from parley.socketio.protocol import CloseReason
from parley.socketio.server import Server

from . import HANDSHAKE, Peer, in_virtual_time, settle


class Told:
    """What a namespace's handlers were told."""

    def __init__(self, server: Server, name: str = "/") -> None:
        self.namespace = server.namespace(name)
        self.connected: list[tuple[Socket, dict[str, Any]]] = []
        self.disconnected: list[tuple[Socket, CloseReason]] = []
        self.namespace.on_connect(lambda *args: self.connected.append(args))
        self.namespace.on_disconnect(lambda *args: self.disconnected.append(args))

    @property
    def reasons(self) -> list[CloseReason]:
        return [reason for _, reason in self.disconnected]


def new_server() -> Server:
    return Server(Options())


def refusal(packet: str | bytes) -> Any:
    assert isinstance(packet, str)
    assert packet[0] == "4"
    return json.loads(packet[packet.index("{") :])


# Joining


@pytest.mark.parametrize(("name", "prefix"), [("/", "0"), ("/custom", "0/custom,")])
@pytest.mark.parametrize(
    ("sent", "expected"), [("", {}), ('{"token":"x","n":[1]}', {"token": "x", "n": [1]})]
)
async def test_join(name: str, prefix: str, sent: str, expected: object) -> None:
    server = new_server()
    told = Told(server, name)
    peer = Peer(server)
    peer.say(prefix + sent)
    ((socket, auth),) = told.connected
    assert peer.heard() == [prefix + json.dumps({"sid": socket.id}, separators=(",", ":"))]
    assert auth == expected
    assert socket.state is SocketState.CONNECTED
    assert told.namespace.sockets == {socket.id: socket}
    assert socket.id != peer.session.sid


async def test_answer_comes_before_what_the_connect_handler_sends() -> None:
    peer = Peer(server := new_server())
    server.namespace().on_connect(lambda socket, auth: socket.emit("welcome"))
    peer.say("0")
    assert [str(packet)[:2] for packet in peer.heard()] == ["0{", "2["]


async def test_unknown_namespace_is_refused_and_the_connection_lives_on() -> None:
    server = new_server()
    namespace = server.namespace()
    peer = Peer(server)
    peer.say("0/nowhere,")
    (packet,) = peer.heard()
    assert str(packet).startswith("4/nowhere,")
    assert refusal(packet) == {"message": "Invalid namespace"}
    assert peer.joined(namespace).state is SocketState.CONNECTED


async def test_several_namespaces_on_one_connection() -> None:
    server = new_server()
    main, other = Told(server, "/"), Told(server, "/other")
    peer = Peer(server)
    peer.say("0", "0/other,")
    peer.say("1/other,")
    assert other.reasons == [CloseReason.CLIENT_NAMESPACE]
    assert other.namespace.sockets == {}
    assert main.reasons == []
    assert peer.ended == []
    peer.say("0/other,")
    peer.session.close(CloseReason.TRANSPORT_CLOSE)
    assert main.reasons == [CloseReason.TRANSPORT_CLOSE]
    assert other.reasons == [CloseReason.CLIENT_NAMESPACE, CloseReason.TRANSPORT_CLOSE]
    assert main.namespace.sockets == other.namespace.sockets == {}


@pytest.mark.parametrize(
    "packets",
    [
        ("0", "0"),
        ("00",),
        ("0[]",),
        ('0"token"',),
        ("0null",),
        ("0{",),
        ("1",),
        ('2["early"]',),
        ('20["early"]',),
        ("30[]",),
        ('4{"message":"no"}',),
        ('51-["early",{"_placeholder":true,"num":0}]',),
        ("0", '2/other,["elsewhere"]'),
        ("0", "1/other,"),
        ("0", "1", '2["late"]'),
        ("0", "nonsense"),
        ("0", ""),
    ],
    ids=" ".join,
)
async def test_breach_of_the_protocol_ends_the_connection(packets: tuple[str, ...]) -> None:
    server = new_server()
    server.namespace("/other")
    told = Told(server)
    peer = Peer(server)
    peer.say(*packets)
    assert peer.ended == [CloseReason.PARSE_ERROR]
    assert len(told.disconnected) == len(told.connected)
    assert told.namespace.sockets == {}
    assert len(server.engine.deadlines) == 0


async def test_namespaces_of_one_connection_are_bounded_refused_ones_too() -> None:
    server = Server(Options(max_namespaces=3))
    for name in ("/", "/a", "/b"):
        server.namespace(name)
    peer = Peer(server)
    peer.say("0", "0/nowhere,", "0/a,")
    assert peer.ended == []
    peer.say("0/b,")
    assert peer.ended == [CloseReason.PARSE_ERROR]


def test_who_joins_nothing_in_time_is_disconnected() -> None:
    async def run() -> None:
        server = new_server()
        namespace = server.namespace()
        idle, joined, left, sent_away = (Peer(server) for _ in range(4))
        for peer in (joined, left):
            peer.joined(namespace)
        socket = sent_away.joined(namespace)
        await asyncio.sleep(15)
        left.say("1")
        socket.disconnect()
        await asyncio.sleep(6)
        assert idle.ended == [CloseReason.CONNECT_TIMEOUT]
        assert left.ended == sent_away.ended == []
        await asyncio.sleep(15)
        assert left.ended == sent_away.ended == [CloseReason.CONNECT_TIMEOUT]
        assert joined.ended == []

    in_virtual_time(run())


@pytest.mark.parametrize("keep", [True, False])
async def test_handshake_is_kept_on_demand(keep: bool) -> None:
    server = Server(Options(keep_handshake=keep))
    seen: list[object] = []
    server.namespace().authorize(lambda socket, auth: seen.append(socket.session.handshake))
    peer = Peer(server)
    peer.say("0")
    assert seen == [HANDSHAKE]
    assert peer.session.handshake == (HANDSHAKE if keep else None)


# Authorization


class Gate:
    """An authorize handler that decides when and as it is told to."""

    def __init__(self, told: Told) -> None:
        self.verdict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.cancelled = False
        self.stubborn = False
        """It lets the client in though that has gone."""
        told.namespace.authorize(self.authorize)

    async def authorize(self, socket: Socket, auth: dict[str, Any]) -> None:
        socket.data = "claimed"
        try:
            await self.verdict
        except asyncio.CancelledError:
            self.cancelled = True
            if not self.stubborn:
                raise


REFUSED = ConnectRefused("not you", {"code": "token_invalid"})
VERDICTS = [
    (REFUSED, {"message": "not you", "data": {"code": "token_invalid"}}),
    (ConnectRefused("no data"), {"message": "no data"}),
]


async def turned_away(error: Exception, at_once: bool) -> tuple[Told, Peer]:
    """A client that asked to join, after the authorize handler raised ``error``."""
    server = new_server()
    told = Told(server)
    if at_once:

        def fail(socket: Socket, auth: dict[str, Any]) -> Awaitable[None] | None:
            raise error

        told.namespace.authorize(fail)
    else:
        Gate(told).verdict.set_exception(error)
    peer = Peer(server)
    peer.say("0")
    await settle()
    return told, peer


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectUnavailable(), CloseReason.FORCED),
        (ConnectUnavailable(CloseReason.TOO_MANY), CloseReason.TOO_MANY),
        (RuntimeError("secret detail"), CloseReason.FORCED),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_who_cannot_be_judged_now_is_to_come_again(
    error: Exception, reason: CloseReason, at_once: bool
) -> None:
    """A CONNECT_ERROR would keep official clients away for good."""
    told, peer = await turned_away(error, at_once)
    assert peer.heard() == []
    assert peer.ended == [reason]
    assert told.connected == []
    assert told.reasons == [reason]


@pytest.mark.parametrize(("error", "answer"), VERDICTS)
@pytest.mark.parametrize("at_once", [True, False])
async def test_refused(error: Exception, answer: object, at_once: bool) -> None:
    told, peer = await turned_away(error, at_once)
    (packet,) = peer.heard()
    assert refusal(packet) == answer
    assert told.connected == []
    assert told.reasons == [CloseReason.SERVER_NAMESPACE]
    assert told.namespace.sockets == {}
    assert peer.ended == []


async def test_who_was_refused_may_try_again() -> None:
    server = new_server()
    told = Told(server)
    tries = iter([REFUSED, None])

    def authorize(socket: Socket, auth: dict[str, Any]) -> None:
        if (verdict := next(tries)) is not None:
            raise verdict

    told.namespace.authorize(authorize)
    peer = Peer(server)
    peer.say("0", "0")
    assert [str(packet)[0] for packet in peer.heard()] == ["4", "0"]
    assert len(told.connected) == 1


async def test_join_after_a_while() -> None:
    server = new_server()
    told = Told(server)
    gate = Gate(told)
    peer = Peer(server)
    peer.say('0{"a":1}')
    await settle()
    assert peer.heard() == []
    assert told.namespace.sockets == {}
    gate.verdict.set_result(None)
    await settle()
    assert str(peer.heard()[0]).startswith('0{"sid":')
    ((socket, auth),) = told.connected
    assert (socket.data, auth) == ("claimed", {"a": 1})
    assert socket.task is None


@pytest.mark.parametrize("packet", ['2["early"]', "1", "0"])
async def test_nothing_may_be_said_during_authorization(packet: str) -> None:
    server = new_server()
    told = Told(server)
    gate = Gate(told)
    peer = Peer(server)
    peer.say("0")
    await settle()
    peer.say(packet)
    await settle()
    assert peer.ended == [CloseReason.PARSE_ERROR]
    assert gate.cancelled


async def test_disconnect_during_authorization_releases_everything() -> None:
    server = new_server()
    told = Told(server)
    gate = Gate(told)
    peer = Peer(server)
    peer.say("0")
    await settle()
    peer.session.close(CloseReason.TRANSPORT_CLOSE)
    await settle()
    assert gate.cancelled
    assert told.connected == []
    ((socket, reason),) = told.disconnected
    assert (socket.data, reason) == ("claimed", CloseReason.TRANSPORT_CLOSE)
    assert server.engine.sessions == {}
    assert len(server.engine.deadlines) == 0
    assert peer.heard() == []


@pytest.mark.parametrize("decided", [True, False])
async def test_a_verdict_that_comes_too_late(decided: bool) -> None:
    server = new_server()
    told = Told(server)
    gate = Gate(told)
    gate.stubborn = True
    peer = Peer(server)
    peer.say("0")
    await settle()
    if decided:
        gate.verdict.set_result(None)
    peer.session.close(CloseReason.TRANSPORT_CLOSE)
    await settle()
    assert told.connected == []
    assert told.reasons == [CloseReason.TRANSPORT_CLOSE]
    assert told.namespace.sockets == {}


async def test_disconnect_before_the_authorization_has_begun() -> None:
    """Both in one read."""
    server = new_server()
    told = Told(server)
    begun = Gate(told).authorize(Peer(server).joined(server.namespace("/other")), {})
    told.namespace.authorize(lambda socket, auth: begun)
    peer = Peer(server)
    peer.transport.arrive(b"40", b"1")
    await settle()
    state = inspect.getcoroutinestate(begun)
    begun.close()
    assert told.reasons == [CloseReason.TRANSPORT_CLOSE]
    assert told.connected == []
    assert state == inspect.CORO_CLOSED


# Leaving


async def test_server_disconnects_a_socket() -> None:
    server = new_server()
    told = Told(server, "/custom")
    peer = Peer(server)
    socket = peer.joined(told.namespace)
    socket.disconnect()
    socket.disconnect()
    socket.emit("late")
    assert peer.heard() == ["1/custom,"]
    assert told.reasons == [CloseReason.SERVER_NAMESPACE]
    assert told.namespace.sockets == {}
    assert peer.ended == []


async def test_server_closes_the_connection_of_a_socket() -> None:
    server = new_server()
    told = Told(server)
    peer = Peer(server)
    socket = peer.joined(told.namespace)
    socket.emit("last words")
    socket.disconnect(close=True)
    assert peer.heard() == ['2["last words"]']
    assert peer.ended == [CloseReason.FORCED]
    assert told.reasons == [CloseReason.FORCED]


async def test_who_was_disconnected_by_the_server_may_join_again() -> None:
    server = new_server()
    told = Told(server)
    peer = Peer(server)
    socket = peer.joined(told.namespace)
    seen: list[Event] = []
    told.namespace.on("event")(lambda socket, event: seen.append(event))
    socket.disconnect()
    # The client says these before it hears that it is out.
    peer.say('2["event"]', '21["event"]', "31[]", '51-["event",0]')
    peer.attach(b"x")
    peer.say("1")
    assert peer.heard() == ["1"]
    peer.say("0", '2["event"]')
    assert len(seen) == 1
    assert len(told.connected) == 2
    assert peer.ended == []
    peer.say("1", '2["event"]')
    assert peer.ended == [CloseReason.PARSE_ERROR]


async def test_failing_connect_and_disconnect_handlers_do_no_harm(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = new_server()
    namespace = server.namespace()

    def fail(*args: object) -> None:
        raise RuntimeError("on purpose")

    namespace.on_connect(fail)
    namespace.on_disconnect(fail)
    peer = Peer(server)
    peer.say("0")
    assert str(peer.heard()[0]).startswith('0{"sid":')
    peer.session.close()
    assert peer.ended == [CloseReason.FORCED]
    assert namespace.sockets == {}
    assert len(caplog.records) == 2
