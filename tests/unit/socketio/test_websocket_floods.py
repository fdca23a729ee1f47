"""Clients that send tiny frames without end, and clients that read nothing of what they ask for."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Frame, Opcode

from parley.socketio.frames import TURN_BYTES
from parley.socketio.protocol import CloseReason
from parley.socketio.session import State

from . import OpenedWebSocket as Opened
from . import WebSocketClient, close_frame, new_engine, settle, until
from .test_polling import PollingClient

READ = 256 * 1024
"""Bytes that an event loop reads at most at a time."""
NOOP = Frame(Opcode.TEXT, b"6").serialize(mask=True)
PONG = Frame(Opcode.PONG, b"").serialize(mask=True)


def text(packet: bytes) -> bytes:
    return Frame(Opcode.TEXT, packet).serialize(mask=True)


@pytest.mark.parametrize("tiny", [NOOP, PONG], ids=["noop", "pong"])
async def test_others_have_their_turn_while_a_read_of_tiny_frames_is_looked_at(tiny: bytes) -> None:
    client = Opened()
    data = tiny * (READ // len(tiny)) + text(b"4last")
    client.protocol.data_received(data)
    assert not client.wire.is_reading()
    turns = 0
    while not client.told.messages:
        turns += 1
        await asyncio.sleep(0)
    assert client.told.messages == ["last"]
    assert turns >= READ // TURN_BYTES
    await settle()
    assert client.wire.is_reading()
    client.say(b"4next")
    assert client.told.messages == ["last", "next"]


async def test_messages_of_many_turns_keep_their_order_and_wait_while_the_session_is_paused() -> (
    None
):
    client = Opened(max_in_flight=5)
    count = READ // len(text(b"412345"))

    def answer() -> None:
        client.session.hold()
        asyncio.get_running_loop().call_soon(client.session.release)

    client.told.on_message = answer
    client.protocol.data_received(b"".join(text(b"4%d" % number) for number in range(count)))
    await until(lambda: len(client.told.messages) == count)
    assert client.told.messages == [str(number) for number in range(count)]
    await until(client.wire.is_reading)


async def test_what_was_read_is_answered_before_the_end_however_many_turns_it_takes() -> None:
    client = Opened()
    count = 2 * TURN_BYTES // len(text(b"4x"))
    client.protocol.data_received(text(b"4x") * count)
    drained = asyncio.ensure_future(client._engine.drain(5))
    await drained
    assert client.told.messages == ["x"] * count
    assert client.told.closed == [CloseReason.SHUTDOWN]


async def test_the_close_frame_behind_many_tiny_frames_ends_the_connection() -> None:
    client = Opened()
    client.session.close()
    client.protocol.data_received(PONG * (READ // len(PONG)) + close_frame().serialize(mask=True))
    assert not client.wire.ended()
    await until(client.wire.ended)
    assert not client.wire.aborted


async def test_a_connection_may_be_lost_before_all_of_a_read_was_looked_at() -> None:
    client = Opened()
    client.protocol.data_received(PONG * (READ // len(PONG)) + text(b"4late"))
    client.wire.lose()
    await settle(50)
    assert client.told.messages == []
    assert client.told.closed == [CloseReason.TRANSPORT_CLOSE]


async def test_a_failure_behind_many_tiny_frames_closes_with_its_code() -> None:
    client = Opened()
    client.protocol.data_received(PONG * (READ // len(PONG)) + b"\xff\xff")
    await until(lambda: client.told.closed)
    await settle()
    assert client.told.closed == [CloseReason.PARSE_ERROR]
    assert client.close_code() == 1002


@pytest.mark.parametrize("payload", [b"", b"x" * 125], ids=["empty", "full"])
async def test_pings_of_a_client_that_reads_no_answers_come_to_an_end(payload: bytes) -> None:
    client = Opened(max_outbox=10_000)
    client.protocol.pause_writing()
    sent = 0
    while not client.told.closed and sent < 1_000:
        client.send(Frame(Opcode.PING, payload))
        sent += 1
    assert client.told.closed == [CloseReason.SLOW]
    assert sent <= 10_000 // 64 + 2


@pytest.mark.parametrize(
    "asking",
    [Frame(Opcode.PING, b"x" * 125), Frame(Opcode.PING, b""), Frame(Opcode.TEXT, b"2probe")],
    ids=["full pings", "empty pings", "probes"],
)
async def test_a_websocket_that_probes_and_reads_nothing_is_given_up(asking: Frame) -> None:
    polling = await PollingClient(new_engine(max_outbox=10_000)).open()
    websocket = WebSocketClient(polling.engine)
    assert polling.sid is not None
    websocket.dial(sid=polling.sid)
    websocket.protocol.pause_writing()
    for _ in range(1_000):
        if websocket.wire.is_reading():
            websocket.send(asking)
    websocket.protocol.resume_writing()
    await settle()
    assert websocket.close_code() == 1008
    assert polling.session.state is State.OPEN
    assert polling.session.probe is None
