"""How a session is read only as fast as it is served, drained, and written in batches."""

from __future__ import annotations

import asyncio

import pytest

from parley.socketio.engine import Engine
from parley.socketio.protocol import CloseReason
from parley.socketio.session import State

from . import PATIENCE, Client, in_virtual_time, new_engine, settle


class HoldsEach(Client):
    """A client each of whose messages stays unanswered until :meth:`answer`."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.told.on_message = self.session.hold

    def arrive(self, *messages: str) -> None:
        self.transport.arrive(*(b"4" + message.encode() for message in messages))

    def answer(self, count: int = 1) -> None:
        for _ in range(count):
            self.session.release()


# Back-pressure


async def test_reading_stops_at_the_bound_and_goes_on_below_it() -> None:
    client = HoldsEach(new_engine(max_in_flight=3))
    client.arrive("1", "2")
    assert client.transport.reading()
    client.arrive("3", "4", "5", "6", "7")
    assert client.told.messages == ["1", "2", "3"]
    assert not client.transport.reading()
    client.answer()
    await settle()
    assert client.told.messages == ["1", "2", "3", "4"]
    assert not client.transport.reading()
    client.answer(4)
    await settle()
    assert client.told.messages == ["1", "2", "3", "4", "5", "6", "7"]
    client.answer(3)
    await settle()
    assert client.transport.reading()


async def test_reading_goes_on_in_a_later_turn() -> None:
    """Who answers a batch must not be called back in its midst."""
    client = HoldsEach(new_engine(max_in_flight=1))
    client.arrive("1", "2")
    client.answer()
    assert client.told.messages == ["1"]
    assert client.session.paused
    await settle()
    assert client.told.messages == ["1", "2"]


async def test_reading_does_not_go_on_if_the_room_is_taken_meanwhile() -> None:
    client = HoldsEach(new_engine(max_in_flight=2))
    client.arrive("1", "2", "3")
    client.session.release()
    client.session.hold()
    await settle()
    assert client.told.messages == ["1", "2"]
    assert not client.transport.reading()


async def test_one_event_may_weigh_as_much_as_many() -> None:
    client = Client(new_engine(max_in_flight=10))
    client.session.hold(9)
    assert client.transport.reading()
    client.session.hold(10)
    client.session.release(9)
    await settle()
    assert not client.transport.reading()
    client.session.release(10)
    await settle()
    assert client.transport.reading()


async def test_answers_after_the_end_are_harmless() -> None:
    client = HoldsEach(new_engine(max_in_flight=1))
    client.arrive("1", "2")
    client.session.close()
    client.answer()
    await settle()
    assert client.told.messages == ["1"]
    assert client.told.closed == [CloseReason.FORCED]


# Draining


async def test_drain_closes_at_once_if_nothing_is_unanswered() -> None:
    client = Client(new_engine())
    client.session.drain()
    assert client.told.closed == [CloseReason.SHUTDOWN]
    client.session.drain()
    assert client.told.closed == [CloseReason.SHUTDOWN]


async def test_drain_waits_for_the_answers() -> None:
    client = HoldsEach(new_engine())
    client.arrive("1", "2")
    client.session.drain()
    assert client.session.state is State.DRAINING
    assert not client.transport.reading()
    client.answer()
    client.session.send(b"4answer")
    assert client.told.closed == []
    client.answer()
    assert client.told.closed == [CloseReason.SHUTDOWN]
    assert client.transport.sent == ["4answer"]


async def test_drain_answers_what_had_been_read_but_not_taken() -> None:
    client = HoldsEach(new_engine(max_in_flight=2))
    client.arrive("1", "2", "3", "4", "5")
    client.session.drain()
    for _ in range(5):
        assert client.told.closed == []
        client.answer()
        await settle()
    assert client.told.messages == ["1", "2", "3", "4", "5"]
    assert client.told.closed == [CloseReason.SHUTDOWN]


async def test_drain_of_the_engine_ends_when_every_session_has() -> None:
    engine = new_engine()
    idle, busy = HoldsEach(engine), HoldsEach(engine)
    busy.arrive("1")
    draining = asyncio.create_task(engine.drain(grace=1000))
    await settle()
    assert engine.draining
    assert idle.told.closed == [CloseReason.SHUTDOWN]
    assert not draining.done()
    busy.answer()
    await asyncio.wait_for(draining, PATIENCE)
    assert engine.closed == {CloseReason.SHUTDOWN: 2}


async def test_drain_of_an_engine_without_sessions() -> None:
    await asyncio.wait_for(new_engine().drain(grace=1000), PATIENCE)


def test_drain_of_the_engine_cuts_off_what_takes_too_long(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        engine = new_engine()
        stuck = HoldsEach(engine)
        stuck.arrive("1")
        await engine.drain(grace=5)
        assert asyncio.get_running_loop().time() == pytest.approx(5)
        assert stuck.told.closed == [CloseReason.SHUTDOWN]
        assert engine.sessions == {}

    in_virtual_time(run())
    assert "1 sessions did not end in time" in caplog.text


# Batches


async def test_one_write_per_connection_in_a_batch() -> None:
    engine = new_engine()
    one, two, idle = Client(engine), Client(engine), Client(engine)
    with engine.batch:
        for number in range(3):
            for client in (one, two):
                client.session.send(b"4%d" % number)
        one.session.send_binary(b"\x00")
        assert one.transport.writes == []
    assert one.transport.writes == [["40", "41", "42", b"\x00"]]
    assert two.transport.writes == [["40", "41", "42"]]
    assert idle.transport.writes == []


async def test_the_outermost_batch_writes() -> None:
    engine = new_engine()
    client = Client(engine)
    with engine.batch:
        client.session.send(b"4a")
        with engine.batch:
            client.session.send(b"4b")
            with engine.batch:
                client.session.send(b"4c")
        assert client.transport.writes == []
        client.session.send(b"4d")
    assert client.transport.writes == [["4a", "4b", "4c", "4d"]]


async def test_a_batch_that_fails_writes_all_the_same() -> None:
    engine = new_engine()
    client = Client(engine)

    def fail() -> None:
        with engine.batch:
            client.session.send(b"4a")
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert client.transport.writes == [["4a"]]
    with engine.batch:
        client.session.send(b"4b")
    assert client.transport.writes == [["4a"], ["4b"]]


async def test_outside_of_a_batch_what_one_turn_sends_is_one_write() -> None:
    engine = new_engine()
    client = Client(engine)
    client.session.send(b"4a")
    client.session.send(b"4b")
    assert client.transport.writes == []
    await settle()
    assert client.transport.writes == [["4a", "4b"]]
    client.session.send(b"4c")
    await settle()
    assert client.transport.writes == [["4a", "4b"], ["4c"]]


async def test_a_batch_takes_along_what_waits_for_the_turn() -> None:
    engine = new_engine()
    client = Client(engine)
    client.session.send(b"4a")
    with engine.batch:
        client.session.send(b"4b")
    assert client.transport.writes == [["4a", "4b"]]
    await settle()
    assert client.transport.writes == [["4a", "4b"]]
