"""A session moves to the process that its WebSocket reached: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.frames import Frame, Opcode

from parley.socketio.acks import AckTimeout
from parley.socketio.namespaces import Socket
from parley.socketio.protocol import CloseReason

from . import WebSocketClient, in_virtual_time, settle, until
from .processes import Cluster
from .test_polling import BAD_REQUEST, UNKNOWN_SESSION, PollingClient

TEXT, BINARY = Opcode.TEXT, Opcode.BINARY


# The session afterwards


async def test_a_session_goes_on_where_its_websocket_is() -> None:
    cluster = await (await Cluster().joined()).moved()
    a, b, websocket = cluster.a, cluster.b, cluster.websocket
    assert (a.engine.sessions, a.namespace.sockets, a.left) == ({}, {}, [CloseReason.MOVED])
    assert b.restored == [cluster.socket_id.encode()]
    assert b.socket.id == cluster.socket_id
    assert b.socket.session is b.engine.sessions[cluster.sid]
    assert b.socket.task is None
    assert websocket.packets() == [b"2"]
    websocket.say(b'42["event","up"]', b'421["event","again"]')
    b.socket.emit("down", b"\x00")
    await settle()
    assert (a.events, b.events) == ([], [["up"], ["again"]])
    assert websocket.frames() == [
        (TEXT, b'431["done"]'),
        (TEXT, b'451-["down",{"_placeholder":true,"num":0}]'),
        (BINARY, b"\x00"),
    ]
    websocket.wire.lose()
    assert b.left == [CloseReason.TRANSPORT_CLOSE]
    assert b.engine.sessions == {}


async def test_a_session_that_moved_shares_the_limits_of_the_address_it_came_from() -> None:
    options: dict[str, Any] = {"limits": {"proxies": {"trusted": ["192.0.2.0/24"]}}}
    cluster = await Cluster(**options).joined()
    target = f"/socket.io/?EIO=4&transport=websocket&sid={cluster.sid}"
    cluster.websocket.ask(target, **{"X-Forwarded-For": "203.0.113.5"})
    for packet in (b"2probe", b"5"):
        cluster.websocket.say(packet)
        await settle()
    assert cluster.b.engine.sessions[cluster.sid].address == "203.0.113.5"


async def test_moves_are_counted() -> None:
    cluster = await (await Cluster().joined()).moved()
    a, b = cluster.a.engine, cluster.b.engine
    assert (a.opened, a.moved_in, dict(a.closed)) == (1, 0, {CloseReason.MOVED: 1})
    assert (b.opened, b.moved_in, dict(b.closed)) == (0, 1, {})


def test_nothing_is_left_behind() -> None:
    async def run() -> None:
        cluster = await (await Cluster(ping_interval=1000).joined()).moved()
        await asyncio.sleep(6)
        assert len(cluster.a.engine.deadlines) == 0
        assert cluster.a.engine.lingering(cluster.sid) is None
        assert len(cluster.b.engine.deadlines) == 1  # the heartbeat

    in_virtual_time(run())


def test_who_still_polls_after_the_move_is_told_that_it_is_wrong() -> None:
    async def run() -> None:
        cluster = await (await Cluster().joined()).moved()
        for process in (cluster.a, cluster.b, cluster.c):
            for method in ("GET", "POST"):
                answer = await cluster.by(process).request(method, [b"4x"]).answered()
                assert (answer.status, answer.problem) == (400, BAD_REQUEST)
        await asyncio.sleep(6)
        for process in (cluster.a, cluster.c):
            answer = await cluster.by(process).request("GET").answered()
            assert (answer.status, answer.problem) == (400, UNKNOWN_SESSION)
        assert cluster.b.left == []

    in_virtual_time(run())


async def test_a_session_that_has_moved_does_not_move_again() -> None:
    cluster = await (await Cluster().joined()).moved()
    before = WebSocketClient(cluster.a.engine)
    target = f"/socket.io/?EIO=4&transport=websocket&sid={cluster.sid}"
    assert before.ask(target).startswith("HTTP/1.1 400 ")
    for process in (cluster.b, cluster.c):
        again = WebSocketClient(process.engine)
        again.dial(sid=cluster.sid)
        again.say(b"2probe")
        await settle()
        assert again.close_code() == 1008
    assert cluster.b.left == []


def test_the_heartbeat_goes_on_in_time() -> None:
    """A client waits for a ping no longer than interval and timeout, wherever it comes from."""

    async def run() -> None:
        cluster = await Cluster().joined()
        await asyncio.sleep(24)
        await cluster.moved()
        assert cluster.websocket.packets() == [b"2"]
        cluster.websocket.say(b"3")
        await asyncio.sleep(26)
        assert cluster.websocket.packets() == [b"2"]
        await asyncio.sleep(21)
        assert cluster.b.left == [CloseReason.PING_TIMEOUT]

    in_virtual_time(run())


# What is on its way


async def test_a_poll_held_by_any_process_is_ended_by_the_probe() -> None:
    cluster = await Cluster().joined()
    poll = cluster.by(cluster.c).request("GET")
    await settle()
    await cluster.probed()
    assert (await poll.answered()).body == b"6"
    # The next one, too, before long, so that the client can change over.
    assert await cluster.by(cluster.b).poll() == b"6"


async def test_a_poll_held_at_the_move_is_ended() -> None:
    cluster = await (await Cluster().joined()).probed()
    poll = cluster.by(cluster.c).request("GET")
    await settle()
    cluster.a.socket.emit("last")
    cluster.websocket.say(b"5")
    polled = (await poll.answered()).body
    await until(lambda: cluster.websocket.wire.writes)
    # Whichever gets it, the other doesn't.
    got = (polled, cluster.websocket.packets())
    assert got in ((b'42["last"]', [b"2"]), (b"6", [b'42["last"]', b"2"]))


async def test_what_waits_is_sent_first() -> None:
    cluster = await Cluster().joined()
    cluster.a.socket.emit("one")
    await cluster.probed()
    cluster.a.socket.emit("two", b"\x00\xff")

    async def push(socket: Socket) -> None:
        socket.emit("three")
        await settle()
        socket.emit("four")

    cluster.b.restoring = push
    cluster.websocket.say(b"5")
    await until(lambda: len(cluster.b.restored) and cluster.b.socket.data)
    cluster.b.socket.emit("five")
    await settle()
    assert cluster.websocket.frames() == [
        (TEXT, b'42["one"]'),
        (TEXT, b'451-["two",{"_placeholder":true,"num":0}]'),
        (BINARY, b"\x00\xff"),
        (TEXT, b"2"),
        (TEXT, b'42["three"]'),
        (TEXT, b'42["four"]'),
        (TEXT, b'42["five"]'),
    ]


async def test_what_is_said_right_behind_the_upgrade_waits_for_the_restored_socket() -> None:
    cluster = await (await Cluster().joined()).probed()
    ready = asyncio.Event()
    cluster.b.restoring = lambda socket: ready.wait()
    cluster.websocket.say(b"5", b'42["event",1]', b'42["event",2]')
    await until(lambda: cluster.b.restored)
    assert not cluster.websocket.wire.is_reading()
    assert cluster.b.events == []
    ready.set()
    await settle()
    assert cluster.b.events == [[1], [2]]
    cluster.websocket.say(b'42["event",3]')
    assert cluster.b.events == [[1], [2], [3]]


async def test_what_a_transport_had_already_read_waits_too() -> None:
    """Pausing one does not stop what it has to decrypt, for instance."""
    cluster = await (await Cluster().joined()).probed()
    cluster.links.gates["take_over"] = gate = asyncio.Event()
    cluster.websocket.say(b"5")
    frame = Frame(TEXT, b'42["event"]').serialize(mask=True)
    cluster.websocket.protocol.data_received(frame)
    gate.set()
    await until(lambda: cluster.b.events)
    assert cluster.b.events == [[]]


async def test_what_is_said_right_behind_the_probe_waits_for_the_other_process() -> None:
    """Clients don't, but it does no harm."""
    cluster = await Cluster().joined()
    cluster.links.gates["begin_upgrade"] = gate = asyncio.Event()
    cluster.websocket.dial(sid=cluster.sid)
    cluster.websocket.say(b"2probe", b"5", b'42["event",1]')
    await settle()
    assert cluster.websocket.packets() == []
    assert not cluster.websocket.wire.is_reading()
    gate.set()
    await until(lambda: cluster.b.events)
    assert cluster.websocket.packets()[0] == b"3probe"
    assert cluster.b.events == [[1]]


async def test_what_was_posted_is_answered_before_the_session_moves() -> None:
    cluster = await Cluster().joined()
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @cluster.a.namespace.on("slow")
    async def slow(socket: Socket, event: Any) -> None:
        event.ack(await answer)

    await cluster.by(cluster.c).post(b'427["slow"]')
    await cluster.probed()
    cluster.websocket.say(b"5", b'42["event"]')
    await asyncio.sleep(0.05)
    assert cluster.a.left == []
    answer.set_result("at last")
    await until(lambda: cluster.b.events)
    assert cluster.websocket.packets()[0] == b'437["at last"]'


async def test_a_post_under_way_ends_before_the_session_moves() -> None:
    cluster = await (await Cluster(max_in_flight=1).joined()).probed()
    session = cluster.a.socket.session
    session.hold()
    post = cluster.by(cluster.c).request("POST", [b'42["event",1]\x1e42["event",2]'])
    cluster.websocket.say(b"5")
    await asyncio.sleep(0.02)
    session.release()
    assert (await post.answered()).body == b"ok"
    await until(lambda: cluster.b.restored)
    assert (cluster.a.events, cluster.b.events) == ([[1], [2]], [])


async def test_a_socket_that_is_being_authorized_joins_before_the_session_moves() -> None:
    cluster = await Cluster().opened()
    may = asyncio.Event()

    @cluster.a.namespace.authorize
    async def authorize(socket: Socket, auth: object) -> None:
        await may.wait()

    await cluster.client.post(b"40")
    await cluster.probed()
    cluster.websocket.say(b"5")
    await asyncio.sleep(0.02)
    assert cluster.sid in cluster.a.engine.sessions
    may.set()
    await until(lambda: cluster.b.restored)
    sid = cluster.b.socket.id
    assert cluster.websocket.packets()[0] == b'40{"sid":"%s"}' % sid.encode()


async def test_a_client_may_join_after_the_move_by_what_its_session_began_with() -> None:
    cluster = await Cluster().opened()
    answer = (
        await PollingClient(cluster.a.engine).request("GET", authorization="Bearer x").answered()
    )
    cluster.sid = json.loads(answer.body[1:])["sid"]
    seen: list[object] = []

    @cluster.b.namespace.authorize
    def authorize(socket: Socket, auth: object) -> None:
        handshake = socket.session.handshake
        assert handshake is not None
        seen.append((handshake.headers["authorization"], handshake.remote, auth))

    await cluster.moved()
    cluster.websocket.say(b'40{"token":1}')
    assert seen == [("Bearer x", "192.0.2.1", {"token": 1})]
    assert cluster.b.socket.data == cluster.b.socket.id.encode()


# What belongs to Socket.IO


async def test_attachments_may_come_on_both_transports() -> None:
    cluster = await Cluster().joined()
    packet = b'452-["event",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]'
    await cluster.client.post(packet, b"bAQ==")
    await cluster.probed()
    cluster.websocket.send(Frame(TEXT, b"5"), Frame(BINARY, b"\x02"))
    await until(lambda: cluster.b.events)
    assert cluster.b.events == [[b"\x02", b"\x01"]]
    assert cluster.a.left == [CloseReason.MOVED]


def test_attachments_that_do_not_come_end_the_session_there() -> None:
    async def run() -> None:
        cluster = await Cluster().joined()
        await cluster.client.post(b'451-["event",{"_placeholder":true,"num":0}]')
        await cluster.moved()
        await asyncio.sleep(11)
        assert cluster.b.left == [CloseReason.PARSE_ERROR]

    in_virtual_time(run())


async def test_acknowledgements_awaited_time_out_and_their_ids_are_not_used_again() -> None:
    cluster = await Cluster().joined()
    answers: list[Any] = []
    cluster.a.socket.emit("ask", "a", ack=answers.append)
    await cluster.moved()
    assert [type(answer) for answer in answers] == [AckTimeout]
    cluster.b.socket.emit("ask", "b", ack=answers.append)
    await settle()
    assert cluster.websocket.packets() == [b'421["ask","a"]', b"2", b'422["ask","b"]']
    cluster.websocket.say(b'431["to a"]', b'432["to b"]')
    assert answers[1:] == [["to b"]]


async def test_what_was_sent_to_a_namespace_before_it_was_known_to_be_closed_is_no_error() -> None:
    cluster = await Cluster().joined()
    cluster.a.socket.disconnect()
    await cluster.moved()
    cluster.websocket.say(b'42["event"]')
    await settle()
    assert cluster.websocket.packets() == [b"41", b"2"]
    assert cluster.sid in cluster.b.engine.sessions


async def test_every_namespace_moves() -> None:
    cluster = await Cluster().joined()
    moved: list[bytes] = []

    async def restore(socket: Socket, data: bytes) -> None:
        moved.append(data)

    for process in (cluster.a, cluster.b):
        process.server.namespace("/second").on_move(lambda socket: b"second", restore)
    await cluster.client.post(b"40/second,")
    await cluster.moved()
    assert moved == [b"second"]
    (second,) = cluster.b.server.namespace("/second").sockets
    joined = b'40/second,{"sid":"%s"}' % second.encode()
    assert cluster.websocket.packets() == [joined, b"2"]
