"""Engine.IO sessions: their life, their heartbeat, and how fast they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec
import pytest

from parley.socketio import protocol
from parley.socketio.protocol import CloseReason, Problem
from parley.socketio.session import State

from . import Client, Recorder, in_virtual_time, new_engine, until

# Opening


@pytest.mark.parametrize(("transport", "upgrades"), [("polling", ["websocket"]), ("websocket", [])])
async def test_open_packet(transport: str, upgrades: list[str]) -> None:
    engine = new_engine(ping_interval=0.3, ping_timeout=0.2, max_payload=1000)
    session = Client(engine, transport).session
    packet = engine.open_packet(session)
    assert packet[:1] == b"0"
    assert msgspec.json.decode(packet[1:]) == {
        "sid": session.sid,
        "upgrades": upgrades,
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1000,
    }


async def test_sessions_are_counted_and_found_by_their_ids() -> None:
    engine = new_engine()
    one, two = Client(engine).session, Client(engine).session
    assert engine.sessions == {one.sid: one, two.sid: two}
    one.close()
    two.close(CloseReason.SLOW)
    assert engine.sessions == {}
    assert engine.opened == 2
    assert engine.closed == {CloseReason.FORCED: 1, CloseReason.SLOW: 1}
    assert len(engine.deadlines) == 0


GOOD = {"EIO": "4", "transport": "polling"}


@pytest.mark.parametrize(
    ("query", "headers", "problem"),
    [
        (GOOD, {}, None),
        ({**GOOD, "transport": "websocket"}, {}, None),
        ({**GOOD, "transport": "webtransport"}, {}, protocol.UNKNOWN_TRANSPORT),
        ({"EIO": "4"}, {}, protocol.UNKNOWN_TRANSPORT),
        ({**GOOD, "EIO": "3"}, {}, protocol.BAD_VERSION),
        ({"transport": "polling"}, {}, protocol.BAD_VERSION),
        (GOOD, {"origin": "https://evil.test", "host": "parley.test"}, protocol.FORBIDDEN),
        (GOOD, {"origin": "https://parley.test", "host": "parley.test"}, None),
    ],
)
async def test_requests_are_checked(
    query: Mapping[str, str], headers: Mapping[str, str], problem: Problem | None
) -> None:
    assert new_engine().check(query, headers) == problem


# The life of a session


async def test_close_happens_once() -> None:
    client = Client(new_engine())
    client.session.send(b"4last")
    client.session.close(CloseReason.FORCED)
    client.session.close(CloseReason.SLOW)
    assert client.session.state is State.CLOSED
    assert client.told.closed == [CloseReason.FORCED]
    assert client.transport.closed == [CloseReason.FORCED]
    assert client.transport.writes == [["4last"]]


async def test_a_closed_session_neither_sends_nor_receives() -> None:
    client = Client(new_engine())
    client.session.close()
    client.session.send(b"4late")
    client.session.send_binary(b"late")
    client.session.receive_text(b"4late")
    client.session.receive_text(b"nonsense")
    client.session.receive_binary(b"late")
    assert client.transport.sent == []
    assert client.told.messages == []
    assert client.told.closed == [CloseReason.FORCED]


async def test_messages_go_to_the_handler_in_order() -> None:
    client = Client(new_engine())
    for packet in (b"4", b"4one", b"46", "4zwölf".encode()):
        client.session.receive_text(packet)
    client.session.receive_binary(b"\x00\xff")
    client.session.receive_text(b"6")
    assert client.told.messages == ["", "one", "6", "zwölf", b"\x00\xff"]
    assert client.session.state is State.OPEN


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"1", CloseReason.TRANSPORT_CLOSE),
        *((packet, CloseReason.PARSE_ERROR) for packet in (b"", b"0", b"2", b"5", b"7", b"\n")),
        *((packet, CloseReason.PARSE_ERROR) for packet in (b"2probe", b"3probe", b"1x", b"6x")),
    ],
)
async def test_packets_that_end_a_session(packet: bytes, reason: CloseReason) -> None:
    client = Client(new_engine())
    client.session.receive_text(packet)
    assert client.told.closed == [reason]


async def test_after_an_upgrade_the_new_transport_carries_everything() -> None:
    client = Client(new_engine(), "polling")
    other = Recorder()
    other.attach(client.session)
    client.session.probe = other
    client.session.upgrade(other)
    client.session.send(b"4x")
    client.session.close()
    assert other.sent == ["4x"]
    assert other.closed == [CloseReason.FORCED]
    assert client.transport.sent == []
    assert client.transport.closed == []


async def test_a_transport_that_asks_to_take_over_ends_with_its_session() -> None:
    client = Client(new_engine(), "polling")
    client.session.probe = probe = Recorder()
    client.session.close(CloseReason.SHUTDOWN)
    assert probe.closed == [CloseReason.SHUTDOWN]
    assert client.session.probe is None


async def test_last_words_are_kept_until_they_were_fetched_or_too_old() -> None:
    engine = new_engine(close_timeout=0.01, ping_interval=0.05)
    first, second = Client(engine), Client(engine)
    for client in (first, second):
        client.session.close()
        engine.linger(client.session)
    assert engine.lingering(first.session.sid) is first.transport
    engine.stop_lingering(first.session.sid)
    assert engine.lingering(first.session.sid) is None
    await until(lambda: not len(engine.deadlines))
    assert engine.lingering(second.session.sid) is None
    assert engine.lingering("nobody") is None


# Heartbeat


def beating(scene: Callable[[Client], None] | None = None) -> list[tuple[float, str]]:
    """What a client that answers no ping, or does as ``scene`` says each second, gets."""

    async def run() -> list[tuple[float, str]]:
        loop = asyncio.get_running_loop()
        client = Client(new_engine())
        seen: list[tuple[float, str]] = []
        while client.session.state is State.OPEN and loop.time() < 120:
            await asyncio.sleep(1)
            now = round(loop.time())
            seen += [(now, str(packet)) for packet in client.transport.take()]
            if scene is not None:
                scene(client)
        seen += [(round(loop.time()), reason.value) for reason in client.told.closed]
        return seen

    return in_virtual_time(run())


def test_a_silent_client_gets_one_ping_and_the_end() -> None:
    assert beating() == [(25, "2"), (45, "ping timeout")]


def test_a_client_that_answers_lives_on() -> None:
    def answer(client: Client) -> None:
        client.session.receive_text(b"3")

    # Pongs that nobody asked for don't count: there is one a second.
    assert beating(answer) == [(25, "2"), (50, "2"), (75, "2"), (100, "2")]


def test_messages_are_no_pong() -> None:
    def talk(client: Client) -> None:
        client.session.receive_text(b"4hello")
        client.session.receive_binary(b"hello")

    assert beating(talk) == [(25, "2"), (45, "ping timeout")]


def test_a_client_that_is_not_read_is_not_blamed() -> None:
    seconds = iter(range(1, 200))

    def busy_until_90(client: Client) -> None:
        second = next(seconds)
        if second == 20:
            client.session.hold(512)
        elif second == 90:
            client.session.release(512)

    assert beating(busy_until_90) == [(25, "2"), (105, "ping timeout")]


def test_a_client_behind_a_slow_network_is_not_blamed_while_data_moves() -> None:
    def slow_until_80(client: Client) -> None:
        now = round(asyncio.get_running_loop().time())
        client.transport.buffered = 1000 - 10 * now if now < 80 else 200

    assert beating(slow_until_80) == [(25, "2"), (105, "ping timeout")]


@pytest.mark.parametrize("buffered", [0, 1000])
def test_a_client_is_blamed_if_nothing_moves(buffered: int) -> None:
    def stuck(client: Client) -> None:
        client.transport.buffered = buffered

    assert beating(stuck) == [(25, "2"), (45, "ping timeout")]
