"""What happens to clients that send too much: they wait, then they are told, then they go."""

from __future__ import annotations

import asyncio
import logging

import pytest

from parley.socketio.engine import Engine
from parley.socketio.limits import Rate, RateLimits, Rates
from parley.socketio.protocol import CloseReason
from parley.socketio.session import State

from . import Client, OpenedWebSocket, in_virtual_time, limiting_engine, new_engine

TEN_A_SECOND = Rates(events=Rate(per_second=10, burst=20))
LIMITS = RateLimits(connection=TEN_A_SECOND, patience=5.0)
STEP = 0.02
"""Seconds to which pauses are exact."""


class Flood(Client):
    """A client that sends numbered messages, in whatever order it likes."""

    def __init__(self, engine: Engine, account: str | None = None) -> None:
        super().__init__(engine)
        self.session.account = account
        self.sent = 0

    def send(self, count: int) -> None:
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        self.transport.arrive(*(b"4%d" % number for number in numbers))

    async def until_told(self) -> None:
        """Wait until something is refused."""
        while not self.told.excess:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(STEP)

    @property
    def taken(self) -> list[int]:
        """The numbers of the messages that were taken, in order."""
        return [int(message) for message in self.told.messages]

    @property
    def refused(self) -> list[int]:
        return [int(message) for message, _ in self.told.excess]


def test_a_burst_passes_and_what_follows_is_taken_at_the_rate() -> None:
    async def main() -> None:
        client = Flood(limiting_engine(LIMITS))
        client.send(50)
        assert 20 <= len(client.taken) <= 22
        assert not client.transport.reading()
        for second in (1, 2):
            await asyncio.sleep(1)
            assert abs(len(client.taken) - 21 - 10 * second) <= 2
        await asyncio.sleep(2)
        assert client.taken == list(range(50))
        assert client.refused == []
        assert client.transport.reading()

    in_virtual_time(main())


def test_a_client_within_its_limits_is_never_slowed() -> None:
    async def main() -> None:
        engine = limiting_engine(LIMITS)
        client = Flood(engine)
        for _ in range(40):
            client.send(9)
            assert client.transport.reading()
            await asyncio.sleep(1)
        assert client.taken == list(range(360))
        assert engine.limiter.slowed == {"connection_events": 0}

    in_virtual_time(main())


def test_who_sends_on_is_told_after_a_while_and_nothing_of_it_is_taken() -> None:
    async def main() -> None:
        engine = limiting_engine(LIMITS)
        client = Flood(engine)
        client.send(100)
        await asyncio.sleep(6)
        taken = len(client.taken)
        assert 60 <= taken <= 75
        assert client.taken + client.refused == list(range(100))
        assert {wait for _, wait in client.told.excess} == {1000}
        assert engine.limiter.refused["connection_events"] == 100 - taken
        assert client.session.state is State.OPEN

    in_virtual_time(main())


def test_who_waits_as_told_goes_on_in_order() -> None:
    async def main() -> None:
        client = Flood(limiting_engine(LIMITS))
        client.send(100)
        await client.until_told()
        await asyncio.sleep(client.told.excess[0][1] / 1000)
        taken = client.taken
        again = client.refused
        client.transport.arrive(*(b"4%d" % number for number in again))
        await asyncio.sleep(6)
        assert client.taken[len(taken) :] == again[: len(client.taken) - len(taken)]
        assert len(client.taken) > len(taken) + 20

    in_virtual_time(main())


def test_who_sends_while_it_should_wait_is_told_to_wait_anew() -> None:
    """Else what it sends later would overtake what was refused."""

    async def main() -> None:
        client = Flood(limiting_engine(LIMITS))
        client.send(100)
        await client.until_told()
        taken = len(client.taken)
        for _ in range(3):
            await asyncio.sleep(0.9)
            client.send(1)
        assert len(client.taken) == taken, "it has never been silent for as long as it should"
        await asyncio.sleep(1)
        client.send(1)
        assert len(client.taken) == taken + 1

    in_virtual_time(main())


def test_early_messages_make_nobody_wait_longer() -> None:
    """They were on their way when the client was told."""

    async def main() -> None:
        client = Flood(limiting_engine(LIMITS))
        client.send(100)
        await client.until_told()
        taken = len(client.taken)
        await asyncio.sleep(0.4)
        client.send(10)
        await asyncio.sleep(0.6)
        client.send(1)
        assert len(client.taken) == taken + 1

    in_virtual_time(main())


def test_who_goes_on_is_disconnected() -> None:
    async def main() -> None:
        engine = limiting_engine(LIMITS)
        client = Flood(engine)
        for _ in range(200):
            if client.session.state is State.CLOSED:
                break
            client.send(10)
            await asyncio.sleep(0.1)
        assert client.told.closed == [CloseReason.FLOODING]
        assert engine.closed[CloseReason.FLOODING] == 1
        assert client.taken == list(range(len(client.taken)))
        assert 60 <= len(client.taken) <= 75
        assert not engine.limiter.pauses

    in_virtual_time(main())


def test_who_sends_very_much_is_disconnected_sooner() -> None:
    """Refusing costs something, too."""

    async def main() -> None:
        client = Flood(limiting_engine(LIMITS))
        client.send(5_000)
        await asyncio.sleep(6)
        assert client.told.closed == [CloseReason.FLOODING]
        assert len(client.refused) == 2_000

    in_virtual_time(main())


def test_who_sleeps_a_while_is_met_with_patience_again() -> None:
    async def main() -> None:
        engine = limiting_engine(LIMITS)
        client = Flood(engine)
        for _ in range(5):
            client.send(60)
            await asyncio.sleep(10)
        assert client.taken == list(range(300))
        assert client.refused == []

    in_virtual_time(main())


def test_all_connections_of_an_account_share_its_limit() -> None:
    async def main() -> None:
        engine = limiting_engine(RateLimits(account=TEN_A_SECOND))
        one, two = Flood(engine, "ann"), Flood(engine, "ann")
        other, nobody = Flood(engine, "bob"), Flood(engine)
        one.send(15)
        two.send(15)
        other.send(15)
        nobody.send(1_000)
        assert one.transport.reading()
        assert not two.transport.reading()
        assert other.transport.reading()
        assert len(nobody.taken) == 1_000
        await asyncio.sleep(2)
        assert len(two.taken) == 15

    in_virtual_time(main())


def test_leaving_and_coming_back_spares_nobody() -> None:
    async def main() -> None:
        engine = limiting_engine(RateLimits(account=TEN_A_SECOND))
        first = Flood(engine, "ann")
        first.send(20)
        first.session.close()
        second = Flood(engine, "ann")
        second.send(10)
        assert len(second.taken) <= 3
        assert not second.transport.reading()

    in_virtual_time(main())


def test_bytes_are_limited_whatever_they_are() -> None:
    async def main() -> None:
        limits = RateLimits(connection=Rates(bytes=Rate(1_000, 2_000)))
        client = OpenedWebSocket(limiting_engine(limits))
        for _ in range(40):
            if not client.wire.is_reading():
                break
            client.say(b"4" + b"x" * 93)
        assert 19 <= len(client.told.messages) <= 24
        await asyncio.sleep(1)
        assert client.wire.is_reading()
        taken = len(client.told.messages)
        client.say(b"4" + b"x" * 3_000)
        assert len(client.told.messages) == taken, "it waits until it is paid for"
        await asyncio.sleep(4)
        assert len(client.told.messages) == taken + 1

    in_virtual_time(main())


def test_what_would_have_to_wait_too_long_is_refused_at_once() -> None:
    async def main() -> None:
        limits = RateLimits(connection=Rates(bytes=Rate(1_000, 2_000)))
        client = OpenedWebSocket(limiting_engine(limits))
        client.say(b"4" + b"x" * 60_000)
        ((_, wait),) = client.told.excess
        assert wait > 50_000
        assert client.told.messages == []

    in_virtual_time(main())


def test_heartbeats_are_answered_by_clients_that_are_told_to_wait() -> None:
    async def main() -> None:
        client = Flood(limiting_engine(LIMITS, ping_interval=8, ping_timeout=4))
        client.send(60)
        for _ in range(10):
            await asyncio.sleep(4)
            if "2" in client.transport.take():
                client.transport.arrive(b"3")
        assert client.session.state is State.OPEN
        assert client.taken == list(range(60))

    in_virtual_time(main())


def test_a_drain_waits_for_what_was_read() -> None:
    async def main() -> None:
        engine = limiting_engine(LIMITS)
        client = Flood(engine)
        client.send(40)
        await engine.drain(grace=10)
        assert client.taken == list(range(40))
        assert client.told.closed == [CloseReason.SHUTDOWN]

    in_virtual_time(main())


def test_nothing_is_left_when_all_have_gone() -> None:
    async def main() -> None:
        engine = limiting_engine(RateLimits(connection=TEN_A_SECOND, account=TEN_A_SECOND))
        clients = [Flood(engine, f"user {number}") for number in range(20)]
        for client in clients:
            client.send(200)
        assert engine.limiter.sizes() == {
            "rate_spenders": 40,
            "rate_offenders": 0,
            "rate_pauses": 20,
        }
        await asyncio.sleep(8)
        for client in clients:
            client.session.close()
        assert engine.limiter.sizes()["rate_offenders"] == 20
        await asyncio.sleep(100)
        assert not any(engine.limiter.sizes().values())
        assert len(engine.deadlines) == 0

    in_virtual_time(main())


def test_the_log_names_an_offender_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        engine = limiting_engine(RateLimits(account=TEN_A_SECOND))
        for _ in range(130):
            for user in ("ann", "bob"):
                Flood(engine, user).send(100)
            await asyncio.sleep(1)

    with caplog.at_level(logging.WARNING):
        in_virtual_time(main())
    lines = [record.getMessage() for record in caplog.records]
    assert lines
    for user in ("ann", "bob"):
        assert 2 <= sum(line.startswith(f"{user} is over a limit") for line in lines) <= 3


def test_no_limits_cost_nothing() -> None:
    async def main() -> None:
        engine = new_engine()
        client = Flood(engine)
        client.send(100_000)
        assert len(client.taken) == 100_000
        assert not any(engine.limiter.sizes().values())
        assert len(engine.deadlines) == 1, "the heartbeat"

    in_virtual_time(main())
