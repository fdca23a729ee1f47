"""How fast a polling client is read, how much may wait for it, and how it is drained."""

from __future__ import annotations

import asyncio

import pytest

from parley.socketio.protocol import CloseReason
from parley.socketio.session import State

from . import settle
from .test_polling import UNKNOWN_SESSION, PollingClient


async def test_a_post_is_answered_when_all_of_it_was_taken() -> None:
    client = await PollingClient(max_in_flight=2).open()
    session, told = client.session, client.told
    told.on_message = session.hold
    post = client.request("POST", [b"41\x1e42\x1e43\x1e44\x1e45"])
    for taken in (2, 3, 4, 5):
        await settle()
        assert len(told.messages) == taken
        assert post.task.done() == (taken == 5)
        session.release()
    assert (await post.answered()).body == b"ok"


async def test_a_post_that_waits_ends_with_its_session() -> None:
    client = await PollingClient(max_in_flight=1).open()
    session, told = client.session, client.told
    told.on_message = session.hold
    post = client.request("POST", [b"41\x1e42"])
    await settle()
    session.close()
    await post.answered()
    assert told.messages == ["1"]


async def test_drain_answers_what_was_posted() -> None:
    client = await PollingClient(max_in_flight=1).open()
    session, told = client.session, client.told
    told.on_message = session.hold
    poll, post = client.request("GET"), client.request("POST", [b"41\x1e42"])
    await settle()
    draining = asyncio.create_task(client.engine.drain(grace=1000))
    await settle()
    assert told.closed == []
    assert (await PollingClient(client.engine).request("GET").answered()).status == 400
    for _ in range(2):
        session.release()
        await settle()
    await asyncio.wait_for(draining, 5)
    assert told.messages == ["1", "2"]
    assert told.closed == [CloseReason.SHUTDOWN]
    assert (await post.answered()).body == b"ok"
    assert (await poll.answered()).body == b"6"


async def test_drain_lets_the_client_fetch_all_answers() -> None:
    client = await PollingClient().open()
    session = client.session
    session.hold(2)
    poll = client.request("GET")
    await settle()
    session.drain()
    for number in (1, 2):
        session.send(b"4%d" % number)
        session.release()
        assert (await poll.answered()).body.startswith(b"4%d" % number)
        poll = client.request("GET")
        await settle()


async def test_drain_takes_all_of_a_long_post() -> None:
    client = await PollingClient().open()
    engine, told = client.engine, client.told
    draining: list[asyncio.Task[None]] = []

    def drain_amid() -> None:
        if not draining:
            draining.append(asyncio.create_task(engine.drain(grace=1)))

    told.on_message = drain_amid
    answer = await client.post(*[b"4x"] * 1000)
    await draining[0]
    assert len(told.messages) == 1000
    assert answer.body == b"ok"


async def test_drain_waits_until_the_last_answers_are_fetched() -> None:
    client = await PollingClient().open()
    session, told = client.session, client.told
    session.hold()
    draining = asyncio.create_task(client.engine.drain(grace=1000))
    await settle()
    session.send(b"4answer")
    session.release()
    await settle()
    assert told.closed == []
    assert (await client.post(b"4late")).status == 400
    assert await client.poll() == b"4answer"
    await asyncio.wait_for(draining, 5)
    assert told.closed == [CloseReason.SHUTDOWN]


# What waits to be fetched


async def test_a_client_that_does_not_poll_is_disconnected_at_the_bound() -> None:
    client = await PollingClient(max_outbox=1000).open()
    session, told = client.session, client.told
    sent = 0
    while session.state is State.OPEN and sent < 100:
        session.send(b"4" + b"x" * 99)
        sent += 1
    assert sent == 11
    assert told.closed == [CloseReason.SLOW]
    answer = await client.request("GET").answered()
    assert answer.problem == UNKNOWN_SESSION


async def test_the_bound_counts_what_waits_not_what_was_fetched() -> None:
    client = await PollingClient(max_outbox=1000).open()
    for _ in range(5):
        for _ in range(9):
            client.session.send(b"4" + b"x" * 100)
        assert len(await client.poll()) == 9 * 102 - 1


async def test_a_client_that_fetches_but_never_all_is_not_disconnected() -> None:
    client = await PollingClient(max_outbox=2000).open()
    session = client.session
    for _ in range(20):
        session.send(b"4" + b"x" * 20)
    for _ in range(10):
        assert (await client.poll()).count(b"4") == 16
        for _ in range(16):
            session.send(b"4" + b"x" * 20)
    assert session.state is State.OPEN


async def test_a_payload_has_no_more_packets_than_every_client_takes() -> None:
    """Python's refuses payloads of more than 16."""
    client = await PollingClient().open()
    for number in range(40):
        client.session.send(b"4%d" % number)
    polled = [(await client.poll()).split(b"\x1e") for _ in range(3)]
    assert [len(packets) for packets in polled] == [16, 16, 8]
    assert [packet for packets in polled for packet in packets] == [b"4%d" % n for n in range(40)]


@pytest.mark.parametrize("held", [True, False])
async def test_all_of_many_last_words_may_be_fetched(held: bool) -> None:
    client = await PollingClient().open()
    poll = client.request("GET")
    if held:
        await settle()
    with client.engine.batch:
        for number in range(40):
            client.session.send(b"4%d" % number)
        client.session.close(CloseReason.FORCED)
    fetched: list[bytes] = []
    while (answer := await poll.answered()).status == 200:
        fetched += answer.body.split(b"\x1e")
        poll = client.request("GET")
    assert fetched == [b"4%d" % number for number in range(40)]


async def test_large_packets_of_one_request_leave_others_their_turn() -> None:
    client = await PollingClient().open()
    told = client.told.messages
    request = client.request("POST", [b"\x1e".join([b"4" + b"x" * 50_000] * 8)])
    at_once = 0
    while not request.task.done():
        before = len(told)
        await asyncio.sleep(0)
        at_once = max(at_once, len(told) - before)
    assert len(told) == 8
    assert at_once == 2
