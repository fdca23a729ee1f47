"""Sessions that come to a process which can't go on with them, or which stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from websockets.frames import Opcode

from parley.socketio.namespaces import ConnectUnavailable, Socket
from parley.socketio.protocol import CloseReason

from . import WebSocketClient, close_frame, in_virtual_time, settle, until
from .processes import Cluster

TEXT = Opcode.TEXT


# While it is restored


async def _unavailable(socket: Socket) -> None:
    raise ConnectUnavailable


async def _broken(socket: Socket) -> None:
    raise RuntimeError("on purpose")


@pytest.mark.parametrize("restore", [_unavailable, _broken])
async def test_who_can_not_be_restored_must_connect_anew(
    restore: Callable[[Socket], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    cluster = await (await Cluster().joined()).probed()
    cluster.a.socket.emit("last words")
    cluster.b.restoring = restore
    cluster.websocket.say(b"5", b'42["event"]')
    await settle()
    assert cluster.websocket.frames()[0] == (TEXT, b'42["last words"]')
    assert cluster.b.left == [CloseReason.FORCED]
    assert (cluster.b.engine.sessions, cluster.b.events) == ({}, [])
    assert ("on purpose" in caplog.text) == (restore is _broken)
    cluster.websocket.send(close_frame())
    await settle()
    assert cluster.websocket.wire.ended()


def test_who_is_not_restored_in_time_must_connect_anew() -> None:
    async def run() -> None:
        cluster = await (await Cluster().joined()).probed()
        ended: list[str] = []

        async def restore(socket: Socket) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                ended.append(socket.id)

        cluster.b.restoring = restore
        cluster.websocket.say(b"5")
        await asyncio.sleep(11)
        assert cluster.b.left == [CloseReason.FORCED]
        assert ended == [cluster.socket_id]

    in_virtual_time(run())


async def test_a_websocket_that_is_lost_while_its_session_is_restored() -> None:
    cluster = await (await Cluster().joined()).probed()
    never = asyncio.Event()
    cluster.b.restoring = lambda socket: never.wait()
    cluster.websocket.say(b"5")
    await until(lambda: cluster.b.restored)
    cluster.websocket.wire.lose()
    await settle()
    assert cluster.b.left == [CloseReason.TRANSPORT_CLOSE]
    assert (cluster.b.engine.sessions, len(cluster.b.engine.deadlines)) == ({}, 0)


async def test_a_socket_may_be_disconnected_while_it_is_restored() -> None:
    cluster = await (await Cluster().joined()).probed()
    never = asyncio.Event()
    cluster.b.restoring = lambda socket: never.wait()
    cluster.websocket.say(b"5", b'42["event"]')
    await until(lambda: cluster.b.restored)
    cluster.b.socket.disconnect()
    await settle()
    assert cluster.websocket.packets() == [b"2", b"41"]
    assert cluster.b.left == [CloseReason.SERVER_NAMESPACE]
    assert cluster.b.events == []
    cluster.websocket.say(b"40")
    assert cluster.b.socket.id != cluster.socket_id


# Processes that stop


async def test_a_process_that_stops_takes_no_session_over() -> None:
    cluster = await (await Cluster().joined()).probed()
    await cluster.b.engine.drain(grace=1)
    late = WebSocketClient(cluster.b.engine)
    answer = late.ask(f"/socket.io/?EIO=4&transport=websocket&sid={cluster.sid}")
    assert answer.startswith("HTTP/1.1 400 ")
    cluster.websocket.say(b"5")
    await settle()
    assert cluster.websocket.close_code() == 1008
    await cluster.still_polls()


async def test_a_session_that_comes_to_a_process_that_stops_is_closed_there() -> None:
    cluster = await (await Cluster().joined()).probed()
    cluster.links.back["take_over"] = gate = asyncio.Event()
    cluster.a.socket.emit("last words")
    cluster.websocket.say(b"5", b'42["event"]')
    await settle()
    await cluster.b.engine.drain(grace=1)
    gate.set()
    await settle()
    assert cluster.b.events == [[]]
    assert cluster.b.left == [CloseReason.SHUTDOWN]
    assert cluster.websocket.frames()[0] == (TEXT, b'42["last words"]')


async def test_a_session_that_is_being_restored_is_waited_for() -> None:
    cluster = await (await Cluster().joined()).probed()
    ready = asyncio.Event()
    cluster.b.restoring = lambda socket: ready.wait()
    cluster.websocket.say(b"5")
    await until(lambda: cluster.b.restored)
    draining = asyncio.create_task(cluster.b.engine.drain(grace=1000))
    await settle()
    assert cluster.b.left == []
    ready.set()
    await asyncio.wait_for(draining, 5)
    assert cluster.b.left == [CloseReason.SHUTDOWN]
    assert cluster.websocket.close_code() == 1012


async def test_a_process_that_stops_lets_a_session_go_that_is_about_to() -> None:
    cluster = await (await Cluster().joined()).probed()
    draining = asyncio.create_task(cluster.a.engine.drain(grace=1000))
    await settle()
    assert cluster.a.left == []
    cluster.websocket.say(b"5", b'42["event"]')
    await asyncio.wait_for(draining, 5)
    await until(lambda: cluster.b.events)
    assert cluster.a.left == [CloseReason.MOVED]


async def test_a_process_that_stops_does_not_wait_for_a_session_that_stays() -> None:
    cluster = await (await Cluster().joined()).probed()
    draining = asyncio.create_task(cluster.a.engine.drain(grace=1000))
    await settle()
    cluster.websocket.wire.lose()
    await settle()
    assert cluster.a.left == [CloseReason.SHUTDOWN]
    await asyncio.wait_for(draining, 5)


def test_a_process_that_stops_waits_for_a_move_only_so_long() -> None:
    async def run() -> None:
        cluster = await (await Cluster().joined()).probed()
        async with asyncio.timeout(2):
            await cluster.a.engine.drain(grace=1000)
        assert cluster.a.left == [CloseReason.SHUTDOWN]

    in_virtual_time(run())
