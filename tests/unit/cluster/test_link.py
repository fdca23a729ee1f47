"""Calls between two nodes, over real connections."""

from __future__ import annotations

import asyncio
import logging

import pytest
from msgspec.structs import replace

from parley.cluster import link, wire
from parley.cluster.link import CallFailed, LinkLost
from parley.cluster.wire import Answer, Call
from tests.unit.cluster.links import HASTY, PATIENT, Refused, by_hand, linked, listening, relayed


async def echo(body: bytes) -> bytes:
    return body


class Held:
    """A method that answers when it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, body: bytes) -> bytes:
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return body


async def test_a_call_and_its_answer() -> None:
    async with listening({"echo": echo}) as (_, port), linked(port) as caller:
        assert await caller.call("echo", b"\x00\xffhello") == b"\x00\xffhello"
        assert await caller.call("echo", b"") == b""


async def test_many_calls_at_a_time_are_answered_in_any_order() -> None:
    order: list[int] = []

    async def later_is_sooner(body: bytes) -> bytes:
        number = int(body)
        for _ in range(200 - number):
            await asyncio.sleep(0)
        order.append(number)
        return b"%d" % (number * 2)

    async with listening({"double": later_is_sooner}) as (_, port), linked(port) as caller:
        calls = (caller.call("double", b"%d" % number) for number in range(200))
        answers = await asyncio.gather(*calls)

    assert [int(answer) for answer in answers] == [number * 2 for number in range(200)]
    assert order != sorted(order)


async def test_calls_begin_in_the_order_in_which_they_were_made() -> None:
    begun: list[bytes] = []

    async def note(body: bytes) -> bytes:
        begun.append(body)
        return b""

    async with listening({"note": note}) as (_, port), linked(port) as caller:
        await asyncio.gather(*(caller.call("note", b"%d" % number) for number in range(100)))

    assert begun == [b"%d" % number for number in range(100)]


async def test_a_slow_method_holds_up_no_other() -> None:
    held = Held()
    async with listening({"held": held, "echo": echo}) as (_, port), linked(port) as caller:
        slow = asyncio.create_task(caller.call("held", b"slow"))
        await held.begun.wait()

        assert await caller.call("echo", b"quick") == b"quick"

        held.release.set()
        assert await slow == b"slow"


async def test_a_call_may_take_longer_than_any_heartbeat() -> None:
    held = Held()
    async with listening({"held": held}, HASTY) as (_, port), linked(port, HASTY) as caller:
        call = asyncio.create_task(caller.call("held", b"at last"))
        await asyncio.sleep(HASTY.beat * HASTY.missed_beats * 2)
        held.release.set()

        assert await call == b"at last"


async def test_large_calls_and_answers() -> None:
    body = bytes(range(256)) * 80_000  # 20 MB
    async with listening({"echo": echo}) as (_, port), linked(port) as caller:
        assert await caller.call("echo", body) == body


async def test_a_cancelled_call_is_cancelled_over_there() -> None:
    held = Held()
    async with listening({"held": held, "echo": echo}) as (_, port), linked(port) as caller:
        call = asyncio.create_task(caller.call("held", b""))
        await held.begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        await held.cancelled.wait()
        assert await caller.call("echo", b"still here") == b"still here"


async def test_a_call_that_is_cancelled_at_once_is_cancelled_over_there() -> None:
    held = Held()
    async with listening({"held": held, "echo": echo}) as (listener, port), linked(port) as caller:
        call = asyncio.create_task(caller.call("held", b""))
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

        await caller.call("echo", b"")  # which comes behind it
        assert not listener.running


async def test_an_answer_that_comes_in_the_moment_of_cancelling() -> None:
    held = Held()
    async with listening({"held": held, "echo": echo}) as (_, port), linked(port) as caller:
        call = asyncio.create_task(caller.call("held", b""))
        await held.begun.wait()
        call.cancel()
        caller.data_received(bytes(wire.encode(Answer(0, b"too late"), 100)))
        with pytest.raises(asyncio.CancelledError):
            await call

        assert await caller.call("echo", b"still here") == b"still here"


async def test_a_timeout_leaves_nothing_behind() -> None:
    held = Held()
    async with listening({"held": held}) as (_, port), linked(port) as caller:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await caller.call("held", b"")

        await held.cancelled.wait()


class TestErrors:
    async def test_one_of_the_table_arrives_as_it_is(self) -> None:
        async def refuse(body: bytes) -> bytes:
            raise Refused("this text stays there")

        async with listening({"refuse": refuse}) as (_, port), linked(port) as caller:
            with pytest.raises(Refused) as raised:
                await caller.call("refuse", b"")

        assert str(raised.value) == ""

    async def test_any_other_stays_in_the_log_over_there(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fault(body: bytes) -> bytes:
            raise KeyError("a detail")

        async with listening({"fault": fault, "echo": echo}) as (_, port), linked(port) as caller:
            with pytest.raises(CallFailed) as raised:
                await caller.call("fault", b"")
            assert await caller.call("echo", b"still here") == b"still here"

        assert "a detail" not in str(raised.value)
        (record,) = caplog.records
        assert record.getMessage() == "fault, called by another node, failed"
        assert "a detail" in caplog.text

    async def test_a_method_that_is_not_there(self) -> None:
        async with listening({}) as (_, port), linked(port) as caller:
            with pytest.raises(CallFailed, match="no such method"):
                await caller.call("nothing", b"")

    async def test_a_method_that_is_cancelled_by_somebody_else(self) -> None:
        async def give_up(body: bytes) -> bytes:
            raise asyncio.CancelledError

        async with listening({"give up": give_up}) as (_, port), linked(port) as caller:
            with pytest.raises(CallFailed, match="cancelled"):
                await caller.call("give up", b"")


class TestBounds:
    SMALL = replace(PATIENT, max_frame=1000)

    async def test_a_call_that_is_too_large(self) -> None:
        async with (
            listening({"echo": echo}) as (_, port),
            linked(port, self.SMALL) as caller,
        ):
            with pytest.raises(CallFailed, match="the call is too large"):
                await caller.call("echo", bytes(1001))

            assert await caller.call("echo", bytes(900)) == bytes(900)

    async def test_an_answer_that_is_too_large(self) -> None:
        async def zeros(body: bytes) -> bytes:
            return bytes(int(body))

        async with (
            listening({"zeros": zeros}, self.SMALL) as (_, port),
            linked(port) as caller,
        ):
            with pytest.raises(CallFailed, match="the answer is too large"):
                await caller.call("zeros", b"1001")

            assert await caller.call("zeros", b"900") == bytes(900)

    async def test_a_call_that_the_node_finds_too_large(self) -> None:
        async with (
            listening({"echo": echo}, self.SMALL) as (_, port),
            linked(port) as caller,
        ):
            with pytest.raises(LinkLost):
                await caller.call("echo", bytes(1001))

    async def test_an_answer_that_the_caller_finds_too_large(self) -> None:
        async def zeros(body: bytes) -> bytes:
            return bytes(1001)

        async with (
            listening({"zeros": zeros}) as (_, port),
            linked(port, self.SMALL) as caller,
        ):
            with pytest.raises(LinkLost, match="a frame of"):
                await caller.call("zeros", b"")

    @pytest.mark.parametrize("strict_side", ["caller", "node"])
    async def test_too_many_calls(self, strict_side: str) -> None:
        held = Held()
        strict = replace(PATIENT, max_calls=2)
        node, caller_options = (strict, PATIENT) if strict_side == "node" else (PATIENT, strict)
        async with (
            listening({"held": held}, node) as (_, port),
            linked(port, caller_options) as caller,
        ):
            under_way = [asyncio.create_task(caller.call("held", b"")) for _ in range(2)]
            await held.begun.wait()
            with pytest.raises(CallFailed, match="too many calls"):
                await caller.call("held", b"")

            held.release.set()
            assert await asyncio.gather(*under_way) == [b"", b""]
            assert await caller.call("held", b"again") == b"again"


class TestLoss:
    async def test_a_cut_fails_all_calls_and_cancels_all_methods(self) -> None:
        held = Held()
        async with (
            listening({"held": held}) as (_, port),
            relayed(port) as relay,
            linked(relay.port) as caller,
        ):
            calls = [asyncio.create_task(caller.call("held", b"")) for _ in range(3)]
            await held.begun.wait()
            relay.cut()

            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [LinkLost] * 3
            await held.cancelled.wait()
            assert not caller.open
            with pytest.raises(LinkLost):
                await caller.call("held", b"")

    async def test_the_caller_ends(self) -> None:
        held = Held()
        async with listening({"held": held}) as (_, port):
            async with linked(port) as caller:
                call = asyncio.create_task(caller.call("held", b""))
                await held.begun.wait()

            with pytest.raises(LinkLost):
                await call
            await held.cancelled.wait()

    async def test_the_node_ends(self) -> None:
        held = Held()
        async with listening({"held": held}) as (listener, port), linked(port) as caller:
            call = asyncio.create_task(caller.call("held", b""))
            await held.begun.wait()
            await listener.close()

            with pytest.raises((LinkLost, CallFailed)):
                await call
            assert held.cancelled.is_set()
            await caller.ended

    async def test_a_node_ends_when_its_methods_have(self) -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def tidy(body: bytes) -> bytes:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.05)
                ended.set()
            return body

        async with listening({"tidy": tidy}) as (listener, port), linked(port) as caller:
            call = asyncio.create_task(caller.call("tidy", b""))
            await begun.wait()
            await listener.close()

            assert ended.is_set()
            with pytest.raises(CallFailed, match="cancelled"):
                await call

    async def test_both_sides_notice_that_nothing_arrives_any_more(self) -> None:
        held = Held()
        async with (
            listening({"held": held}, HASTY) as (_, port),
            relayed(port) as relay,
            linked(relay.port, HASTY) as caller,
        ):
            call = asyncio.create_task(caller.call("held", b""))
            await held.begun.wait()
            relay.hang()

            with pytest.raises(LinkLost, match="silent"):
                await call
            await held.cancelled.wait()

    async def test_what_waits_for_a_side_that_does_not_read_is_bounded(self) -> None:
        bounded = replace(PATIENT, max_backlog=100_000)
        async with (
            listening({"echo": echo}) as (_, port),
            relayed(port) as relay,
            linked(relay.port, bounded) as caller,
        ):
            relay.hang()
            calls = [asyncio.create_task(caller.call("echo", bytes(90_000))) for _ in range(500)]

            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {LinkLost}
            assert caller.reason == "the other side does not read"

    async def test_closing_twice_and_at_the_same_time(self) -> None:
        async with listening({"echo": echo}) as (listener, port), linked(port) as caller:
            await asyncio.gather(caller.close(), caller.close(), listener.close())
            await listener.close()

    async def test_the_last_answers_leave_before_a_node_ends(self) -> None:
        answered = asyncio.Event()

        async def large(body: bytes) -> bytes:
            answered.set()
            return bytes(2_000_000)

        async with listening({"large": large}) as (listener, port), linked(port) as caller:
            call = asyncio.create_task(caller.call("large", b""))
            await answered.wait()
            await asyncio.sleep(0)
            await listener.close()

            assert await call == bytes(2_000_000)


async def test_a_node_does_not_wait_long_for_its_last_answers_to_leave() -> None:
    answered = asyncio.Event()

    async def huge(body: bytes) -> bytes:
        answered.set()
        return bytes(50_000_000)

    async with listening({"huge": huge}, HASTY) as (listener, port), by_hand(port) as stream:
        await stream.prove_as_caller()
        stream.send(Call(1, "huge", b""))
        await answered.wait()
        await asyncio.sleep(0)

        await listener.close()

        assert len(await stream.rest()) < 50_000_000


async def test_no_link_is_made_to_a_port_where_nobody_listens() -> None:
    async with listening({}) as (_, port):
        pass

    with pytest.raises(ConnectionRefusedError):
        await link.connect("127.0.0.1", port, b"key", (), PATIENT)


async def test_a_connection_that_is_not_wanted_any_more(caplog: pytest.LogCaptureFixture) -> None:
    async with listening({}) as (_, port), relayed(port) as relay:
        relay.hang()
        connecting = asyncio.create_task(link.connect("127.0.0.1", relay.port, b"", (), PATIENT))
        await asyncio.sleep(0.05)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting

    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []
