"""Sessions that should move to another process, and don't: they stay, or begin anew."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Frame, Opcode

from parley.socketio.namespaces import Socket
from parley.socketio.peers import PeerGone, PeerUnreachable, UpgradeRefused
from parley.socketio.protocol import CloseReason

from . import WebSocketClient, close_frame, in_virtual_time, settle, until
from .processes import A, Cluster, Process

TEXT = Opcode.TEXT

UNREACHED = [PeerGone(), PeerUnreachable(), UpgradeRefused("on purpose")]


async def may_move(cluster: Cluster) -> None:
    """Check that nothing of an earlier attempt stands against another one."""
    await until(lambda: cluster.a.socket.session.probe is None)
    cluster.websocket = WebSocketClient(cluster.b.engine)
    cluster.links.errors.clear()
    await cluster.moved()
    cluster.websocket.say(b'42["event","there"]')
    assert cluster.b.events == [["there"]]


# Before the session is fetched


@pytest.mark.parametrize("error", UNREACHED, ids=repr)
async def test_a_session_that_can_not_be_announced_to_stays(error: Exception) -> None:
    cluster = await Cluster().joined()
    cluster.links.errors["begin_upgrade"] = error
    cluster.websocket.dial(sid=cluster.sid)
    cluster.websocket.say(b"2probe")
    await settle()
    assert cluster.websocket.close_code() == 1008
    await cluster.still_polls()
    await may_move(cluster)


async def test_the_websocket_of_a_dead_process_s_session_is_closed() -> None:
    cluster = await Cluster().joined()
    cluster.links.leave(A)
    cluster.websocket.dial(sid=cluster.sid)
    cluster.websocket.say(b"2probe")
    await settle()
    assert cluster.websocket.close_code() == 1008


async def test_the_websocket_of_an_ended_session_is_closed() -> None:
    cluster = await Cluster().joined()
    cluster.a.socket.session.close()
    cluster.websocket.dial(sid=cluster.sid)
    cluster.websocket.say(b"2probe")
    await settle()
    assert cluster.websocket.close_code() == 1008


UNEXPECTED = [
    Frame(TEXT, b"4too early"),
    Frame(TEXT, b"2"),
    Frame(TEXT, b""),
    Frame(Opcode.BINARY, b"5"),
    close_frame(),
]


@pytest.mark.parametrize("frame", UNEXPECTED, ids=str)
@pytest.mark.parametrize("probed", [False, True])
async def test_who_says_something_else_stays(probed: bool, frame: Frame) -> None:
    cluster = await Cluster().joined()
    if probed:
        await cluster.probed()
    else:
        cluster.websocket.dial(sid=cluster.sid)
    cluster.websocket.send(frame)
    assert cluster.websocket.frames()[-1][0] == Opcode.CLOSE
    await settle()
    assert ("abandon_upgrade" in cluster.links.calls) == probed
    await cluster.still_polls()
    await may_move(cluster)


@pytest.mark.parametrize("packet", [b"2probe", b"5"])
async def test_a_packet_at_the_wrong_time_ends_the_attempt(packet: bytes) -> None:
    cluster = await Cluster().joined()
    if packet == b"2probe":
        await cluster.probed()
    else:
        cluster.websocket.dial(sid=cluster.sid)
    cluster.websocket.say(packet)
    assert cluster.websocket.close_code() == 1008
    await settle()
    await cluster.still_polls()


async def test_a_websocket_that_breaks_the_protocol_leaves_the_session_as_it_was() -> None:
    cluster = await (await Cluster().joined()).probed()
    cluster.websocket.protocol.data_received(Frame(TEXT, b"5").serialize(mask=False))
    await settle()
    assert cluster.websocket.close_code() == 1002
    await cluster.still_polls()
    await may_move(cluster)


@pytest.mark.parametrize("served", [False, True])
async def test_a_websocket_that_is_lost_while_it_is_announced(served: bool) -> None:
    cluster = await Cluster().joined()
    gates = cluster.links.back if served else cluster.links.gates
    gates["begin_upgrade"] = gate = asyncio.Event()
    cluster.websocket.dial(sid=cluster.sid)
    cluster.websocket.say(b"2probe")
    await settle()
    cluster.websocket.wire.lose(ConnectionResetError())
    gate.set()
    await until(lambda: "abandon_upgrade" in cluster.links.calls)
    await settle()
    await cluster.still_polls()
    await may_move(cluster)


async def test_a_websocket_that_is_lost_after_it_was_announced() -> None:
    cluster = await (await Cluster().joined()).probed()
    cluster.websocket.wire.lose()
    await settle()
    assert len(cluster.a.engine.deadlines) == 1  # the heartbeat
    await cluster.still_polls()
    await may_move(cluster)


async def test_that_it_is_lost_need_not_be_known() -> None:
    cluster = await (await Cluster().joined()).probed()
    cluster.links.errors["abandon_upgrade"] = PeerUnreachable()
    cluster.websocket.wire.lose()
    await settle()
    assert cluster.a.socket.session.probe is not None
    assert (await cluster.client.post(b'42["event"]')).status == 200


def test_a_session_waits_for_its_upgrade_only_so_long() -> None:
    async def run() -> None:
        cluster = await (await Cluster().joined()).probed()
        cluster.links.errors["abandon_upgrade"] = PeerUnreachable()
        await asyncio.sleep(11)
        assert cluster.websocket.close_code() == 1008
        await asyncio.sleep(6)
        assert cluster.websocket.wire.aborted
        await cluster.still_polls()
        assert cluster.a.socket.session.probe is None

    in_virtual_time(run())


async def test_a_session_that_ends_while_it_is_probed_can_not_be_fetched() -> None:
    cluster = await (await Cluster().joined()).probed()
    cluster.a.socket.session.close(CloseReason.TRANSPORT_ERROR)
    assert len(cluster.a.engine.deadlines) == 0
    cluster.websocket.say(b"5")
    await settle()
    assert cluster.websocket.close_code() == 1008
    cluster.websocket.wire.lose()
    await settle()
    assert (cluster.b.engine.sessions, cluster.b.left) == ({}, [])


# While it is fetched


@pytest.mark.parametrize("error", UNREACHED, ids=repr)
async def test_a_session_that_can_not_be_fetched(error: Exception) -> None:
    cluster = await (await Cluster().joined()).probed()
    cluster.links.errors["take_over"] = error
    cluster.websocket.say(b"5", b'42["event"]')
    await settle()
    assert cluster.websocket.close_code() == 1008
    assert (cluster.a.events, cluster.b.events, cluster.b.engine.sessions) == ([], [], {})


async def test_a_session_that_is_lost_on_its_way_is_nowhere() -> None:
    cluster = await (await Cluster().joined()).probed()
    cluster.links.lost["take_over"] = PeerUnreachable()
    cluster.websocket.say(b"5", b'42["event"]')
    await settle()
    assert cluster.websocket.close_code() == 1008
    assert cluster.a.left == [CloseReason.MOVED]
    assert (cluster.a.engine.sessions, cluster.b.engine.sessions) == ({}, {})


async def test_a_session_whose_link_breaks_before_it_leaves_stays() -> None:
    cluster = await (await Cluster().joined()).probed()
    session = cluster.a.socket.session
    session.hold()
    cluster.websocket.say(b"5")
    await settle()
    cluster.links.cut()
    await settle()
    assert cluster.websocket.close_code() == 1008
    session.release()
    await cluster.still_polls()
    await may_move(cluster)


def test_a_session_that_is_not_answered_in_time_stays() -> None:
    async def run() -> None:
        cluster = await (await Cluster().joined()).probed()
        cluster.a.socket.session.hold()
        cluster.websocket.say(b"5")
        await asyncio.sleep(11)
        assert cluster.websocket.close_code() == 1008
        cluster.a.socket.session.release()
        await cluster.still_polls()

    in_virtual_time(run())


@pytest.mark.parametrize("served", [False, True])
async def test_a_websocket_that_is_lost_while_its_session_is_fetched(served: bool) -> None:
    cluster = await (await Cluster().joined()).probed()
    gates = cluster.links.back if served else cluster.links.gates
    gates["take_over"] = gate = asyncio.Event()
    cluster.websocket.say(b"5")
    await settle()
    cluster.websocket.wire.lose()
    gate.set()
    await settle()
    assert cluster.a.left == [CloseReason.MOVED]
    assert (cluster.a.engine.sessions, cluster.b.engine.sessions) == ({}, {})
    assert len(cluster.b.engine.deadlines) == 0


async def test_frames_that_are_wrong_behind_the_upgrade_end_it() -> None:
    cluster = await (await Cluster().joined()).probed()
    wrong = Frame(TEXT, b"5").serialize(mask=True) + Frame(TEXT, b"4x").serialize(mask=False)
    cluster.websocket.protocol.data_received(wrong)
    await settle()
    assert cluster.websocket.close_code() == 1002
    assert cluster.b.engine.sessions == {}


# Sessions that can't move


def _without_hooks(process: Process) -> None:
    process.server.namespace("/other")


async def test_sockets_whose_namespace_can_not_move_stay() -> None:
    cluster = await Cluster().joined()
    _without_hooks(cluster.a)
    await cluster.client.post(b"40/other,")
    assert (await cluster.client.poll()).startswith(b"40/other,")
    cluster.websocket.dial(sid=cluster.sid)
    cluster.websocket.say(b"2probe")
    await settle()
    assert cluster.websocket.close_code() == 1008
    await cluster.still_polls()


async def test_a_namespace_that_can_not_move_may_be_joined_while_probed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = await (await Cluster().joined()).probed()
    _without_hooks(cluster.a)
    await cluster.client.post(b"40/other,")
    cluster.websocket.say(b"5")
    await settle()
    assert cluster.websocket.close_code() == 1008
    assert (await cluster.client.poll()).startswith(b"40/other,")
    await cluster.still_polls()
    (record,) = caplog.records
    assert record.getMessage().startswith("a session could not be taken over")


async def test_a_namespace_that_is_not_over_there_ends_the_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = await Cluster().joined()

    async def restore(socket: Socket, data: bytes) -> None: ...

    cluster.a.server.namespace("/other").on_move(lambda socket: b"", restore)
    _without_hooks(cluster.b)
    await cluster.client.post(b"40/other,")
    await cluster.probed()
    cluster.websocket.say(b"5")
    await settle()
    assert cluster.b.left == [CloseReason.FORCED]
    assert cluster.b.engine.sessions == {}
    assert "no such namespace to move to: /other" in caplog.text


async def test_a_socket_that_can_not_be_exported_stays(caplog: pytest.LogCaptureFixture) -> None:
    cluster = await (await Cluster().joined()).probed()
    cluster.a.socket.data = object()
    cluster.websocket.say(b"5")
    await settle()
    assert cluster.websocket.close_code() == 1008
    assert "can't be exported" in caplog.text
    await cluster.still_polls()


# Two at a time


async def test_one_process_at_a_time_may_take_a_session_over() -> None:
    cluster = await (await Cluster().joined()).probed()
    second = WebSocketClient(cluster.c.engine)
    second.dial(sid=cluster.sid)
    second.say(b"2probe")
    here = WebSocketClient(cluster.a.engine)
    here.dial(sid=cluster.sid)
    await settle()
    assert (second.close_code(), here.close_code()) == (1008, 1008)
    second.wire.lose()
    here.wire.lose()
    await settle()
    cluster.websocket.say(b"5")
    await until(lambda: cluster.b.restored)
    assert cluster.c.engine.sessions == {}


async def test_a_session_that_moves_within_its_process_does_not_leave_it() -> None:
    cluster = await Cluster().joined()
    here = WebSocketClient(cluster.a.engine)
    here.dial(sid=cluster.sid)
    here.say(b"2probe")
    cluster.websocket.dial(sid=cluster.sid)
    cluster.websocket.say(b"2probe")
    await settle()
    assert cluster.websocket.close_code() == 1008
    here.say(b"5", b'42["event"]')
    assert cluster.a.events == [[]]


async def test_a_session_is_fetched_once() -> None:
    cluster = await (await Cluster().joined()).probed()
    fetched = await cluster.links.take_over(cluster.sid)
    assert fetched.sid == cluster.sid
    with pytest.raises(UpgradeRefused):
        await cluster.links.take_over(cluster.sid)
    await cluster.links.abandon_upgrade(cluster.sid)
    assert cluster.a.left == [CloseReason.MOVED]
