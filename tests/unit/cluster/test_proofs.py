"""Who may talk to a node, and who passes for one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from msgspec.structs import replace

from parley.cluster import wire
from parley.cluster.link import Link, LinkLost, WrongNode
from parley.cluster.wire import Answer, Call, Cancel, Message
from parley.incidents import Incident, totals
from tests.unit.cluster.links import (
    HASTY,
    KEY,
    PATIENT,
    Stream,
    by_hand,
    linked,
    listening,
    pretending,
)


async def echo(body: bytes) -> bytes:
    return body


async def unlinkable(port: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        async with linked(port, HASTY):
            pass


class TestCallers:
    async def test_a_wrong_key(self) -> None:
        async with listening({"echo": echo}) as (listener, port):
            with pytest.raises(WrongNode):
                async with linked(port, key=b"x" * 32):
                    pass

            assert not listener.links
            async with linked(port) as caller:
                assert await caller.call("echo", b"the others go on") == b"the others go on"

    @pytest.mark.parametrize(
        "garbage",
        [
            b"GET / HTTP/1.1\r\nHost: parley.example.com\r\nUser-Agent: none of ours\r\n\r\n",
            bytes(64),
            bytes(1_000_000),
        ],
    )
    async def test_garbage(self, garbage: bytes) -> None:
        async with listening({"echo": echo}) as (_, port), by_hand(port) as stream:
            stream.write(garbage)

            arrived = await stream.rest()

        # The end may come as a reset, which takes along what was still on its way.
        assert arrived[wire.GREETING_SIZE :] in {b"", wire.REFUSAL}

    async def test_a_proof_may_come_in_pieces(self) -> None:
        async with listening({"echo": echo}) as (_, port), by_hand(port) as stream:
            nonce = (await stream.read(wire.GREETING_SIZE))[len(wire.MAGIC) :]
            own = bytes(wire.NONCE_SIZE)
            for byte in own + wire.proof(KEY, wire.CALLER, nonce + own):
                stream.write(bytes([byte]))
                await asyncio.sleep(0.001)

            assert await stream.read(wire.PROOF_SIZE) == wire.proof(KEY, wire.NODE, nonce + own)

    async def test_silence(self) -> None:
        async with listening({"echo": echo}, HASTY) as (listener, port), by_hand(port) as stream:
            assert len(await stream.rest()) == wire.GREETING_SIZE
            assert not listener.unproven
            assert totals()[Incident.LINK_REFUSED] == 1

    async def test_a_call_without_a_proof_is_not_carried_out(self) -> None:
        called = []

        async def note(body: bytes) -> bytes:
            called.append(body)
            return b""

        async with listening({"note": note}) as (_, port), by_hand(port) as stream:
            await stream.read(wire.GREETING_SIZE)
            for number in range(10):
                stream.send(Call(number, "note", b""))
            await stream.rest()

        assert not called

    async def test_a_proof_is_of_no_use_to_another_connection(self) -> None:
        async with listening({}) as (_, port), by_hand(port) as first, by_hand(port) as second:
            nonce = (await first.read(wire.GREETING_SIZE))[len(wire.MAGIC) :]
            own = bytes(wire.NONCE_SIZE)
            overheard = own + wire.proof(KEY, wire.CALLER, nonce + own)
            await second.read(wire.GREETING_SIZE)
            second.write(overheard)

            assert await second.rest() == wire.REFUSAL

    async def test_too_many_at_the_door(self) -> None:
        crowded = replace(PATIENT, max_unproven=1)
        async with listening({"echo": echo}, crowded) as (_, port), by_hand(port) as first:
            await first.prove_as_caller()  # it stands at the door no longer
            async with by_hand(port) as second:
                await second.read(wire.GREETING_SIZE)
                async with by_hand(port) as third:
                    await third.prove_as_caller()
                    assert await second.rest() == b""  # the oldest had to go

                first.send(Call(7, "echo", b"still in"))
                assert await first.message() == Answer(7, b"still in")
            assert totals()[Incident.LINK_REFUSED] == 1

    @pytest.mark.parametrize("said", [b"", bytes(10)])
    async def test_a_flood_of_strangers_keeps_no_node_out(self, said: bytes) -> None:
        async with listening({"echo": echo}, PATIENT) as (listener, port), AsyncExitStack() as held:
            for _ in range(PATIENT.max_unproven + 50):
                stream = await held.enter_async_context(by_hand(port))
                stream.write(said)

            async with linked(port) as caller:
                assert await caller.call("echo", b"let in") == b"let in"
            assert len(listener.unproven) <= PATIENT.max_unproven
            assert totals()[Incident.LINK_REFUSED] >= 50

    @pytest.mark.parametrize(
        "messages",
        [
            [Answer(1, b"to a node?")],
            [Call(1, "hold", b""), Call(1, "hold", b"")],
            [b"\xff\xff\xff\xff"],
            [b"\x00\x00\x00\x01\xc1"],
        ],
    )
    async def test_one_that_breaks_the_rules_loses_its_link(
        self, messages: list[Message | bytes], caplog: pytest.LogCaptureFixture
    ) -> None:
        async def hold(body: bytes) -> bytes:
            await asyncio.Event().wait()
            return body

        async with listening({"hold": hold}) as (listener, port), by_hand(port) as stream:
            await stream.prove_as_caller()
            for message in messages:
                if isinstance(message, bytes):
                    stream.write(message)
                else:
                    stream.send(message)
            await stream.rest()

            assert not listener.links
        assert "a link between nodes is given up" in caplog.text

    async def test_one_that_falls_silent_loses_its_link(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with listening({"echo": echo}, HASTY) as (listener, port), by_hand(port) as stream:
            await stream.prove_as_caller()
            await stream.rest()

            assert not listener.links
        assert totals()[Incident.LINK_LOST] == 1
        assert "a link from another node is given up: the other side is silent" in caplog.text

    async def test_cancelling_what_is_over_already(self) -> None:
        async with listening({"echo": echo}) as (_, port), by_hand(port) as stream:
            await stream.prove_as_caller()
            stream.send(Cancel(3))
            stream.send(Call(4, "echo", b"still here"))

            assert await stream.message() == Answer(4, b"still here")


class TestNodes:
    async def test_one_that_does_not_know_the_key(self) -> None:
        async def serve(stream: Stream) -> None:
            stream.write(wire.MAGIC + bytes(wire.NONCE_SIZE))
            await stream.read(wire.NONCE_SIZE)
            stream.write(await stream.read(wire.PROOF_SIZE))  # the caller's own proof
            await stream.rest()

        async with pretending(serve) as port:
            await unlinkable(port, WrongNode)

    @pytest.mark.parametrize("greeting", [b"PARLEY/2" + bytes(32), b"SSH-2.0-" + bytes(32)])
    async def test_one_that_speaks_otherwise(self, greeting: bytes) -> None:
        async def serve(stream: Stream) -> None:
            stream.write(greeting)
            assert await stream.rest() == b"", "it learns nothing"

        async with pretending(serve) as port:
            await unlinkable(port, WrongNode)

    async def test_one_that_says_nothing(self) -> None:
        async def serve(stream: Stream) -> None:
            await stream.rest()

        async with pretending(serve) as port:
            await unlinkable(port, TimeoutError)

    async def test_one_whose_greeting_comes_when_nobody_waits_for_it_any_more(self) -> None:
        greeted = asyncio.Event()

        async def serve(stream: Stream) -> None:
            await greeted.wait()
            stream.write(wire.MAGIC + bytes(wire.NONCE_SIZE))
            assert await stream.rest() == b""

        loop = asyncio.get_running_loop()
        async with pretending(serve) as port:
            _, caller = await loop.create_connection(
                lambda: Link(KEY, (), PATIENT), "127.0.0.1", port
            )
            caller.ready.cancel()
            greeted.set()
            await asyncio.sleep(0.05)

            assert not caller.open
            await caller.close()

    async def test_one_that_goes_at_once(self) -> None:
        async def serve(stream: Stream) -> None:
            pass

        async with pretending(serve) as port:
            await unlinkable(port, LinkLost)

    async def test_one_that_breaks_the_rules(self) -> None:
        async def serve(stream: Stream) -> None:
            await stream.prove_as_node()
            stream.send(Call(1, "to a caller?", b""))
            await stream.rest()

        async with pretending(serve) as port, linked(port) as caller:
            with pytest.raises(LinkLost):
                await caller.call("echo", b"")

    async def test_one_whose_first_message_comes_with_its_proof(self) -> None:
        async def serve(stream: Stream) -> None:
            own = bytes(wire.NONCE_SIZE)
            stream.write(wire.MAGIC + own)
            nonces = own + await stream.read(wire.NONCE_SIZE)
            await stream.read(wire.PROOF_SIZE)
            forbidden = wire.encode(Call(0, "", b""), 100)
            stream.write(wire.proof(KEY, wire.NODE, nonces) + forbidden)
            await stream.rest()

        async with pretending(serve) as port, linked(port) as caller:
            await caller.ended
            assert caller.reason == "a Call to a caller"

    async def test_one_that_stops_reading_and_talking(self) -> None:
        async def serve(stream: Stream) -> None:
            await stream.prove_as_node()
            await asyncio.Event().wait()

        async with pretending(serve) as port, linked(port, HASTY) as caller:
            with pytest.raises(LinkLost, match="silent"):
                await caller.call("echo", bytes(10_000_000))
