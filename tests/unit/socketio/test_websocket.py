"""The WebSocket transport, at the boundary to the event loop's transport."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.frames import Frame, Opcode

from parley.socketio.protocol import CloseReason
from parley.socketio.session import State

from . import OpenedWebSocket as Opened
from . import WebSocketClient, close_frame, new_engine, settle, until

TEXT, BINARY, CLOSE, PING, PONG = (
    Opcode.TEXT,
    Opcode.BINARY,
    Opcode.CLOSE,
    Opcode.PING,
    Opcode.PONG,
)
TARGET = "/socket.io/?EIO=4&transport=websocket"


# The opening handshake


async def test_accepted() -> None:
    engine = new_engine()
    client = WebSocketClient(engine)
    answer = client.ask(TARGET + "&x=1", Authorization="Bearer y")
    assert answer.startswith("HTTP/1.1 101 ")
    (session,) = engine.sessions.values()
    ((opcode, packet),) = client.frames()
    assert opcode == TEXT
    assert json.loads(packet[1:])["sid"] == session.sid
    assert session.handshake is not None
    assert session.handshake.headers["authorization"] == "Bearer y"
    assert session.handshake.query["x"] == "1"
    assert session.handshake.remote == "192.0.2.1"


@pytest.mark.parametrize(
    ("target", "headers", "status", "code"),
    [
        ("/elsewhere/?EIO=4&transport=websocket", {}, 404, 3),
        ("/socket.io/?EIO=4", {}, 400, 0),
        ("/socket.io/?EIO=3&transport=websocket", {}, 400, 5),
        ("/socket.io/?EIO=4&transport=polling", {}, 400, 3),
        (TARGET + "&sid=nobody", {}, 400, 1),
        (TARGET, {"Origin": "https://evil.test"}, 403, 4),
        (TARGET, {"Sec-WebSocket-Key": "short"}, 400, 3),
        (TARGET, {"Sec-WebSocket-Version": "8"}, 426, 3),
        ("//[", {}, 400, 3),
    ],
)
async def test_refused(target: str, headers: dict[str, str], status: int, code: int) -> None:
    engine = new_engine()
    client = WebSocketClient(engine)
    head, _, body = client.ask(target, **headers).partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert json.loads(body)["code"] == code
    client.protocol.data_received(b"whatever follows")
    await settle()
    assert client.wire.ended()
    assert client.wire.writes == []
    assert engine.opened == 0
    assert client.connections == set()


async def test_refused_with_another_method() -> None:
    answer = WebSocketClient(new_engine()).ask(TARGET, "POST")
    assert answer.startswith("HTTP/1.1 400 ")
    assert '"code":2' in answer


async def test_refused_while_draining() -> None:
    engine = new_engine()
    await engine.drain(grace=0)
    assert WebSocketClient(engine).ask(TARGET).startswith("HTTP/1.1 400 ")
    assert engine.opened == 0


async def test_uvicorn_knows_the_connection_until_it_ends() -> None:
    client = Opened()
    assert client.connections == {client.protocol}
    client.wire.lose()
    assert client.connections == set()


# Messages


async def test_messages_reach_the_session_whole_and_in_order() -> None:
    client = Opened()
    client.send(
        Frame(TEXT, b"4one"),
        Frame(TEXT, b"4t", fin=False),
        Frame(PING, b"hello"),
        Frame(Opcode.CONT, b"w", fin=False),
        Frame(PONG, b"unasked"),
        Frame(Opcode.CONT, b"o"),
        Frame(BINARY, b"\x00\xff"),
    )
    assert client.told.messages == ["one", "two", b"\x00\xff"]
    assert client.frames() == [(PONG, b"hello")]


async def test_frames_may_come_in_any_pieces() -> None:
    client = Opened()
    data = b"".join(Frame(TEXT, b"4%d" % number).serialize(mask=True) for number in range(3))
    for byte in data:
        client.protocol.data_received(bytes([byte]))
    assert client.told.messages == ["0", "1", "2"]


async def test_one_write_for_all_that_one_read_causes() -> None:
    client = Opened()
    client.told.on_message = lambda: client.session.send(b"4answer")
    client.say(b"4a", b"4b", b"4c")
    assert len(client.wire.writes) == 1
    assert client.packets() == [b"4answer"] * 3


async def test_one_write_for_each_client_in_a_batch() -> None:
    engine = new_engine()
    clients = [Opened(engine), Opened(engine)]
    with engine.batch:
        for number in range(3):
            for client in clients:
                client.session.send(b"4%d" % number)
        clients[0].session.send_binary(b"x" * 70_000)
        assert clients[0].wire.writes == []
    assert [len(client.wire.writes) for client in clients] == [1, 1]
    assert clients[0].frames() == [
        (TEXT, b"40"),
        (TEXT, b"41"),
        (TEXT, b"42"),
        (BINARY, b"x" * 70_000),
    ]
    assert clients[1].packets() == [b"40", b"41", b"42"]


async def test_long_reads_are_taken_in_turns() -> None:
    """Others get theirs between; order is kept, and no more is read meanwhile."""
    engine = new_engine()
    client, other = Opened(engine), Opened(engine)
    seen: list[int] = []
    client.told.on_message = lambda: seen.append(len(other.told.messages))
    client.say(*(b"4%d" % number for number in range(1000)))
    assert 0 < len(client.told.messages) < 1000
    assert not client.wire.is_reading()
    other.say(b"4me too")
    await until(client.wire.is_reading)
    assert client.told.messages == [str(number) for number in range(1000)]
    assert (seen[0], seen[-1]) == (0, 1)


async def test_long_reads_are_finished_before_a_drain_ends() -> None:
    engine = new_engine()
    client = Opened(engine)
    client.say(*(b"4%d" % number for number in range(1000)))
    await asyncio.wait_for(engine.drain(grace=1000), 5)
    assert client.told.messages == [str(number) for number in range(1000)]
    assert client.told.closed == [CloseReason.SHUTDOWN]


# A session that is not to be read


async def test_what_was_read_waits_in_order_while_the_session_is_paused() -> None:
    client = Opened(max_in_flight=1)
    client.told.on_message = client.session.hold
    client.send(
        Frame(TEXT, b"41"),
        Frame(BINARY, b"2"),
        Frame(PING, b"3"),
        Frame(TEXT, b"44"),
        Frame(TEXT, b"45"),
    )
    assert client.told.messages == ["1"]
    assert not client.wire.is_reading()
    # A loop may pass on what it had read before it was told to pause.
    client.protocol.data_received(Frame(TEXT, b"46").serialize(mask=True))
    assert client.told.messages == ["1"]
    assert client.frames() == []
    for expected in (["1", b"2", "4"], ["1", b"2", "4", "5"], ["1", b"2", "4", "5", "6"]):
        client.session.release()
        await settle()
        assert client.told.messages == expected
        assert not client.wire.is_reading()
    assert client.frames() == [(PONG, b"3")]
    client.session.release()
    await settle()
    assert client.wire.is_reading()


async def test_control_frames_before_the_next_message_are_answered_though_paused() -> None:
    client = Opened(max_in_flight=1)
    client.told.on_message = client.session.hold
    client.send(Frame(TEXT, b"41"), Frame(PING, b"now"), Frame(TEXT, b"42"))
    assert client.frames() == [(PONG, b"now")]


async def test_close_that_waits_behind_messages_comes_after_them() -> None:
    client = Opened(max_in_flight=1)
    client.told.on_message = client.session.hold
    client.send(Frame(TEXT, b"41"), Frame(TEXT, b"42"), close_frame())
    assert client.told.closed == []
    client.session.release()
    await settle()
    assert client.told.messages == ["1", "2"]
    assert client.told.closed == [CloseReason.TRANSPORT_CLOSE]
    assert client.wire.ended()


async def test_close_of_a_paused_session_reads_on_for_the_answer() -> None:
    client = Opened(max_in_flight=1)
    client.told.on_message = client.session.hold
    client.say(b"41", b"42")
    assert not client.wire.is_reading()
    client.session.close()
    await settle()
    client.send(close_frame())
    await settle()
    assert client.told.messages == ["1"]
    assert client.wire.ended()
    assert not client.wire.aborted


# A client that does not read


async def test_writes_wait_while_the_client_does_not_read() -> None:
    client = Opened()
    client.protocol.pause_writing()
    for number in range(3):
        client.session.send(b"4%d" % number)
        await settle()
    assert client.wire.writes == []
    client.protocol.resume_writing()
    assert len(client.wire.writes) == 1
    assert client.packets() == [b"40", b"41", b"42"]
    client.protocol.resume_writing()
    assert client.wire.writes == []


async def test_a_client_that_reads_may_get_any_amount() -> None:
    client = Opened(max_outbox=100)
    for _ in range(5):
        for _ in range(5):
            client.session.send(b"4" + b"x" * 50)
        await settle()
    assert client.session.state is State.OPEN
    assert len(client.packets()) == 25


async def test_a_client_that_does_not_read_is_disconnected_at_the_bound() -> None:
    engine = new_engine(max_outbox=1000, close_timeout=0.01, ping_interval=0.05)
    client = Opened(engine)
    client.wire.stuck = True
    client.protocol.pause_writing()
    sent = 0
    while not client.told.closed and sent < 100:
        client.session.send(b"4" + b"x" * 99)
        sent += 1
    assert sent == 11  # ten wait; this one was too many
    assert client.told.closed == [CloseReason.SLOW]
    assert engine.closed[CloseReason.SLOW] == 1
    assert client.wire.writes == []
    await until(client.wire.ended)
    assert client.wire.aborted
    assert len(engine.deadlines) == 0


async def test_a_slow_client_that_reads_again_is_told_why() -> None:
    client = Opened(max_outbox=1000)
    client.protocol.pause_writing()
    while not client.told.closed:
        client.session.send(b"4" + b"x" * 100)
    client.protocol.resume_writing()
    assert client.close_code() == 1008


async def test_the_bound_counts_what_waits_not_what_was_written() -> None:
    client = Opened(max_outbox=1000)
    for _ in range(5):
        client.protocol.pause_writing()
        for _ in range(9):
            client.session.send(b"4" + b"x" * 100)
        await settle()
        client.protocol.resume_writing()
    assert client.session.state is State.OPEN


async def test_one_large_answer_does_not_reach_the_bound() -> None:
    """It was asked for; that it takes a while is no sign that the client doesn't read."""
    client = Opened(max_outbox=1000)
    client.protocol.pause_writing()
    for _ in range(3):
        client.session.send(b"4" + b"x" * 5000)
    assert client.session.state is State.OPEN
