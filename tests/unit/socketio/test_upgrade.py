"""A polling session moves to a WebSocket: nothing is lost, and a failed attempt does no harm."""

from __future__ import annotations

import asyncio

import pytest
from websockets.frames import Frame, Opcode

from parley.socketio.engine import Engine
from parley.socketio.polling import PollingTransport
from parley.socketio.protocol import CloseReason
from parley.socketio.session import Session, State

from . import Told, WebSocketClient, close_frame, in_virtual_time, new_engine, settle
from .test_polling import BAD_REQUEST, PollingClient

TEXT = Opcode.TEXT


async def begin(engine: Engine | None = None) -> tuple[PollingClient, WebSocketClient]:
    """A polling session, and a WebSocket that has connected to take over."""
    polling = await PollingClient(engine).open()
    websocket = WebSocketClient(polling.engine)
    assert polling.sid is not None
    websocket.dial(sid=polling.sid)
    return polling, websocket


async def upgraded() -> tuple[PollingClient, WebSocketClient, Session]:
    polling, websocket = await begin()
    session = polling.session
    websocket.say(b"2probe")
    await settle()
    assert websocket.packets() == [b"3probe"]
    websocket.say(b"5")
    return polling, websocket, session


async def still_polls(polling: PollingClient) -> None:
    """Check that the session is what it was before the attempt."""
    assert (await polling.post(b"4up")).status == 200
    assert polling.told.messages[-1] == "up"
    poll = polling.request("GET")
    await asyncio.sleep(0.15)  # while an upgrade is under way, polls are answered sooner
    assert not poll.task.done(), "the poll isn't held any more"
    polling.session.send(b"4down")
    assert (await poll.answered()).body == b"4down"


async def may_be_upgraded(polling: PollingClient) -> None:
    websocket = WebSocketClient(polling.engine)
    assert polling.sid is not None
    websocket.dial(sid=polling.sid)
    websocket.say(b"2probe")
    websocket.say(b"5")
    await settle()
    assert websocket.packets() == [b"3probe"]
    polling.session.send(b"4up there")
    await settle()
    assert websocket.packets() == [b"4up there"]


async def test_everything_goes_over_the_websocket_then() -> None:
    polling, websocket, session = await upgraded()
    session.send(b"4down")
    session.send_binary(b"\x00")
    websocket.send(Frame(TEXT, b"4up"), Frame(Opcode.BINARY, b"\x01"))
    assert polling.told.messages == ["up", b"\x01"]
    assert websocket.frames() == [(TEXT, b"4down"), (Opcode.BINARY, b"\x00")]
    for method in ("GET", "POST"):
        answer = await polling.request(method, [b"4x"]).answered()
        assert (answer.status, answer.problem) == (400, BAD_REQUEST)
    assert len(polling.engine.deadlines) == 1  # the heartbeat
    told = polling.told
    websocket.wire.lose()
    assert told.closed == [CloseReason.TRANSPORT_CLOSE]


async def test_a_held_poll_is_ended_by_the_probe() -> None:
    polling, websocket = await begin()
    poll = polling.request("GET")
    await settle()
    websocket.say(b"2probe")
    assert (await poll.answered()).body == b"6"
    # The next one, too, before long, so that the client can change over.
    assert await polling.poll() == b"6"


async def test_what_waits_is_handed_over_in_order() -> None:
    polling, websocket = await begin()
    websocket.say(b"2probe")
    session = polling.session
    session.send(b"4one")
    session.send_binary(b"b\x00\xff")
    websocket.say(b"5")
    session.send(b"4two")
    await settle()
    assert websocket.frames() == [
        (TEXT, b"3probe"),
        (TEXT, b"4one"),
        (Opcode.BINARY, b"b\x00\xff"),
        (TEXT, b"4two"),
    ]


async def test_what_is_polled_during_the_probe_is_not_sent_again() -> None:
    polling, websocket = await begin()
    websocket.say(b"2probe")
    polling.session.send(b"4one")
    assert await polling.poll() == b"4one"
    websocket.say(b"5")
    await settle()
    assert websocket.packets() == [b"3probe"]


async def test_a_poll_held_at_the_change_is_ended() -> None:
    polling, websocket = await begin()
    websocket.say(b"2probe")
    poll = polling.request("GET")
    await settle()
    websocket.say(b"5")
    polling.session.send(b"4for the websocket")
    assert (await poll.answered()).body == b"6"
    assert websocket.packets() == [b"3probe", b"4for the websocket"]


async def test_a_session_that_is_not_read_is_not_read_on_the_websocket_either() -> None:
    polling, websocket = await begin(new_engine(max_in_flight=1))
    session = polling.session
    session.hold()
    websocket.say(b"2probe")
    websocket.say(b"5")
    assert not websocket.wire.is_reading()
    session.release()
    await settle()
    assert websocket.wire.is_reading()


# Attempts that fail


UNEXPECTED = [
    Frame(TEXT, b"4too early"),
    Frame(TEXT, b"5"),
    Frame(TEXT, b"2"),
    Frame(TEXT, b""),
    Frame(Opcode.BINARY, b"2probe"),
    close_frame(),
]


@pytest.mark.parametrize(
    ("probed", "frame"),
    [(False, frame) for frame in UNEXPECTED]
    + [(True, frame) for frame in UNEXPECTED if frame.data != b"5"],
    ids=str,
)
async def test_who_says_something_else_stays_on_polling(probed: bool, frame: Frame) -> None:
    polling, websocket = await begin()
    if probed:
        websocket.say(b"2probe")
        await settle()
    websocket.frames()
    websocket.send(frame)
    assert websocket.frames()[-1][0] == Opcode.CLOSE
    assert polling.told.messages == []
    await still_polls(polling)
    await may_be_upgraded(polling)


async def test_a_probe_that_is_lost_leaves_the_session_as_it_was() -> None:
    polling, websocket = await begin()
    websocket.say(b"2probe")
    websocket.wire.lose(ConnectionResetError())
    await still_polls(polling)
    await may_be_upgraded(polling)
    assert polling.session.state is State.OPEN


@pytest.mark.parametrize("probed", [True, False])
async def test_a_probe_that_breaks_the_protocol_leaves_the_session_as_it_was(probed: bool) -> None:
    polling, websocket = await begin()
    if probed:
        websocket.say(b"2probe")
    websocket.protocol.data_received(Frame(TEXT, b"unmasked").serialize(mask=False))
    await settle()
    assert websocket.close_code() == 1002
    websocket.wire.lose()
    await still_polls(polling)
    await may_be_upgraded(polling)


def test_who_does_not_complete_the_upgrade_stays_on_polling() -> None:
    async def run() -> None:
        polling, websocket = await begin()
        websocket.say(b"2probe")
        await asyncio.sleep(11)
        assert websocket.close_code() == 1008
        await asyncio.sleep(6)
        assert websocket.wire.aborted
        assert isinstance(polling.session.transport, PollingTransport)
        assert polling.session.probe is None

    in_virtual_time(run())


async def test_a_session_that_ends_during_the_change_ends_on_the_websocket() -> None:
    """An official client that lost the WebSocket now would wait for polls that it doesn't make."""
    polling, websocket = await begin()
    told = polling.told
    websocket.say(b"2probe")
    polling.session.send(b"4last words")
    polling.session.send_binary(b"\x00")
    polling.session.close(CloseReason.TOO_MANY)
    await settle()
    assert websocket.packets() == [b"3probe"]
    websocket.say(b"5")
    assert told.closed == [CloseReason.TOO_MANY]
    *words, (opcode, closing) = websocket.frames()
    assert words == [(TEXT, b"4last words"), (Opcode.BINARY, b"\x00")]
    assert (opcode, closing) == (Opcode.CLOSE, b"\x03\xf5too many connects")


async def test_one_that_ends_before_takes_the_websocket_along() -> None:
    polling, websocket = await begin()
    polling.session.close()
    await settle()
    assert websocket.close_code() == 1000


def test_who_does_not_change_over_after_the_end_is_not_waited_for() -> None:
    async def run() -> None:
        polling, websocket = await begin()
        websocket.say(b"2probe")
        polling.session.close()
        await asyncio.sleep(11)
        assert websocket.close_code() == 1008
        await asyncio.sleep(6)
        assert websocket.wire.aborted
        assert len(polling.engine.deadlines) == 0

    in_virtual_time(run())


async def test_one_probe_at_a_time() -> None:
    polling, first = await begin()
    second = WebSocketClient(polling.engine)
    assert polling.sid is not None
    second.dial(sid=polling.sid)
    await settle()
    assert second.close_code() == 1008
    first.say(b"2probe")
    first.say(b"5")
    await settle()
    assert first.packets() == [b"3probe"]
    third = WebSocketClient(polling.engine)
    third.dial(sid=polling.sid)
    await settle()
    assert third.close_code() == 1008
    assert polling.session.state is State.OPEN


async def test_a_probe_ends_with_its_session() -> None:
    polling, websocket = await begin()
    polling.session.close(CloseReason.SHUTDOWN)
    await settle()
    assert websocket.close_code() == 1012
    websocket.send(Frame(TEXT, b"2probe"), Frame(TEXT, b"5"), close_frame())
    await settle()
    assert websocket.wire.ended()
    assert websocket.frames() == []
    assert len(polling.engine.deadlines) == 0


async def test_a_post_under_way_ends_though_the_client_changes_over() -> None:
    polling, websocket = await begin(new_engine(max_in_flight=1))
    session, told = polling.session, polling.told
    assert isinstance(told, Told)
    websocket.say(b"2probe")
    told.on_message = session.hold
    post = polling.request("POST", [b"41\x1e42"])
    await settle()
    assert told.messages == ["1"]
    websocket.say(b"5")
    for _ in range(2):
        session.release()
        await settle()
    assert post.task.done()
