"""The end of a WebSocket, whoever begins it."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Frame, Opcode

from parley.socketio.engine import Engine
from parley.socketio.options import Options
from parley.socketio.protocol import CloseReason

from . import OpenedWebSocket as Opened
from . import Told, WebSocketClient, close_frame, in_virtual_time, new_engine, settle

TEXT, CLOSE, PING = Opcode.TEXT, Opcode.CLOSE, Opcode.PING


# Closing


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        (Frame(CLOSE, b""), b"\x03\xe8"),
        (close_frame(1000, "bye"), b"\x03\xe8"),
        (close_frame(1001), b"\x03\xe9"),
        (close_frame(3210), (3210).to_bytes(2, "big")),
    ],
)
async def test_the_client_closes(frame: Frame, answer: bytes) -> None:
    client = Opened()
    client.send(frame, Frame(TEXT, b"4late"))
    assert client.frames() == [(CLOSE, answer)]
    assert client.told.closed == [CloseReason.TRANSPORT_CLOSE]
    assert client.told.messages == []
    await settle()
    assert client.wire.ended()
    assert not client.wire.aborted


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (CloseReason.FORCED, 1000),
        (CloseReason.CONNECT_TIMEOUT, 1000),
        (CloseReason.PARSE_ERROR, 1002),
        (CloseReason.SLOW, 1008),
        (CloseReason.TOO_MANY, 1013),
        (CloseReason.SHUTDOWN, 1012),
        (CloseReason.PING_TIMEOUT, 1001),
    ],
)
async def test_the_server_closes(reason: CloseReason, code: int) -> None:
    client = Opened()
    client.session.send(b"4last words")
    client.session.close(reason)
    await settle()
    assert client.wire.is_reading()
    assert not client.wire.ended()
    assert client.wire.writes[0].startswith(b"\x81\x0b4last")
    assert client.close_code() == code
    client.send(Frame(TEXT, b"4late"), Frame(PING, b"late"))
    assert client.frames() == []
    assert client.told.messages == []
    client.send(close_frame(code))
    await settle()
    assert client.wire.ended()
    assert not client.wire.aborted
    assert client.frames() == []


def test_who_does_not_answer_a_close_is_cut_off() -> None:
    async def run() -> None:
        client = Opened()
        client.session.close()
        await asyncio.sleep(4)
        assert not client.wire.ended()
        await asyncio.sleep(2)
        assert client.wire.aborted
        assert client.wire.ended()

    in_virtual_time(run())


def test_who_closes_but_reads_nothing_is_cut_off() -> None:
    async def run() -> None:
        client = Opened()
        client.wire.stuck = True
        client.send(close_frame())
        await asyncio.sleep(6)
        assert client.wire.aborted

    in_virtual_time(run())


@pytest.mark.parametrize(
    ("frame", "masked", "code"),
    [
        (Frame(TEXT, b"4unmasked"), False, 1002),
        (Frame(TEXT, b"4\xff"), True, 1007),
        (Frame(TEXT, b"4" * 1001), True, 1009),
        (Frame(TEXT, b"nonsense"), True, 1002),
    ],
    ids=["unmasked", "not UTF-8", "too long", "no packet"],
)
async def test_breach_of_the_protocol(frame: Frame, masked: bool, code: int) -> None:
    client = Opened(max_payload=1000)
    data = frame.serialize(mask=masked)
    client.protocol.data_received(Frame(TEXT, b"4before").serialize(mask=True) + data)
    assert client.told.messages == ["before"]
    assert client.told.closed == [CloseReason.PARSE_ERROR]
    assert client.close_code() == code


def test_who_answers_no_ping_is_told_so() -> None:
    async def run() -> None:
        client = Opened()
        await asyncio.sleep(26)
        assert client.packets() == [b"2"]
        await asyncio.sleep(20)
        assert client.close_code() == 1001
        assert client.told.closed == [CloseReason.PING_TIMEOUT]

    in_virtual_time(run())


UNMASKED = Frame(TEXT, b"4unmasked").serialize(mask=False)


def test_who_breaks_the_protocol_is_soon_cut_off() -> None:
    async def run() -> None:
        client = Opened()
        client.protocol.data_received(UNMASKED)
        await asyncio.sleep(6)
        assert client.wire.ended()

    in_virtual_time(run())


def test_who_breaks_the_protocol_and_reads_nothing_is_cut_off() -> None:
    async def run() -> None:
        client = Opened()
        client.wire.stuck = True
        client.protocol.data_received(UNMASKED)
        await asyncio.sleep(60)
        assert client.wire.ended()

    in_virtual_time(run())


def test_who_breaks_the_protocol_and_goes_on_sending_is_cut_off() -> None:
    async def run() -> None:
        client = Opened()
        for _ in range(120):
            if not client.wire.ended():
                client.protocol.data_received(UNMASKED)
            await asyncio.sleep(0.5)
        assert client.wire.ended()

    in_virtual_time(run())


@pytest.mark.parametrize("exc", [None, ConnectionResetError()])
async def test_the_connection_is_lost(exc: Exception | None) -> None:
    engine = new_engine()
    client = Opened(engine)
    client.session.send(b"4never seen")
    client.wire.lose(exc)
    reason = CloseReason.TRANSPORT_CLOSE if exc is None else CloseReason.TRANSPORT_ERROR
    assert client.told.closed == [reason]
    assert len(engine.deadlines) == 0
    client.protocol.data_received(Frame(TEXT, b"4late").serialize(mask=True))
    client.protocol.resume_writing()
    await settle()
    assert client.told.messages == []
    assert client.wire.writes == []


async def test_the_end_of_the_stream_closes_the_transport() -> None:
    protocol: asyncio.Protocol = Opened().protocol
    assert not protocol.eof_received()


async def test_shutdown() -> None:
    client = Opened()
    client.session.send(b"4last words")
    client.protocol.shutdown()
    assert client.wire.is_closing()
    assert client.told.closed == [CloseReason.SHUTDOWN]
    assert client.close_code() == 1012


async def test_shutdown_before_the_handshake() -> None:
    client = WebSocketClient(Engine(Options(), lambda session: Told()))
    client.protocol.shutdown()
    await settle()
    assert client.wire.ended()
    assert client.connections == set()
