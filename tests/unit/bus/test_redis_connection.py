"""What a connection writes and when, on a transport that notes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import hiredis
import pytest

from parley.bus.redis_connection import (
    MAX_REPLY,
    MAX_UNSENT,
    TURN,
    Address,
    RedisConnection,
    command,
)
from parley.bus.redis_link import PLAIN, SHARDED, RedisLink, Verbs
from parley.errors import BusBroken, BusUnavailable


class Transport(asyncio.Transport):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.aborted = False
        self.reading = True

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.writes.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == MAX_UNSENT

    def abort(self) -> None:
        self.aborted = True


class Opened:
    """A connection that was taken over, and what it told."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.connection = RedisConnection(Address("redis", 6379))
        self.connection.connection_made(self.transport)
        self.replies: list[Any] = []
        self.losses: list[Exception] = []
        self.connection.take_over(self.replies.append, self.losses.append)


@pytest.fixture
async def opened() -> Opened:
    return Opened()


def test_commands() -> None:
    assert command(b"PING") == b"*1\r\n$4\r\nPING\r\n"
    assert command(b"SELECT", b"") == b"*2\r\n$6\r\nSELECT\r\n$0\r\n\r\n"


async def test_what_one_turn_sends_leaves_in_one_write(opened: Opened) -> None:
    connection, writes = opened.connection, opened.transport.writes
    connection.send(b"a")
    for _ in range(1000):
        assert connection.offer((b"b", b"c"), 2)
    connection.send(b"d")
    assert writes == []
    await asyncio.sleep(0)
    assert writes == [b"a" + b"bc" * 1000 + b"d"]
    connection.send(b"e")
    await asyncio.sleep(0)
    assert writes[1:] == [b"e"]


async def test_one_turn_gathers_no_more_than_its_bound(opened: Opened) -> None:
    connection = opened.connection
    packet = bytes(MAX_UNSENT // 4)
    taken = [connection.offer((packet,), len(packet)) for _ in range(6)]
    assert taken == [True] * 4 + [False] * 2
    connection.send(b"PING")  # isn't dropped
    await asyncio.sleep(0)
    assert opened.transport.writes == [packet * 4 + b"PING"]
    assert connection.offer((packet,), len(packet))


async def test_nothing_is_taken_while_too_much_waits(opened: Opened) -> None:
    connection = opened.connection
    connection.pause_writing()
    assert not connection.offer((b"x",), 1)
    connection.send(b"PING")
    await asyncio.sleep(0)  # it is written, and that makes no room
    assert not connection.offer((b"x",), 1)
    connection.resume_writing()
    assert connection.offer((b"x",), 1)


async def test_replies_in_any_pieces(opened: Opened) -> None:
    stream = b":12\r\n+PONG\r\n-MOVED 1 a:1\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n\r\n:1\r\n"
    for place in range(len(stream)):
        opened.connection.data_received(stream[place : place + 1])
    number, text, error, push = opened.replies
    assert (number, text) == (12, b"PONG")
    assert isinstance(error, hiredis.ReplyError)
    assert isinstance(push, hiredis.PushNotification)
    assert push == [b"message", b"c", b"\r\n:1"]
    assert opened.losses == []


async def test_what_is_no_reply_is_a_loss(opened: Opened) -> None:
    opened.connection.data_received(b":1\r\nHTTP/1.1 400 Bad Request\r\n")
    assert opened.replies == [1]
    (loss,) = opened.losses
    assert isinstance(loss, BusBroken)
    assert opened.transport.aborted


async def test_a_reply_without_an_end_is_a_loss(opened: Opened) -> None:
    opened.connection.data_received(b"$%d\r\n" % (2 * MAX_REPLY))
    piece = bytes(2**20)
    for _ in range(MAX_REPLY // len(piece) - 1):
        opened.connection.data_received(piece)
    assert opened.losses == []
    for _ in range(2):
        opened.connection.data_received(piece)
    (loss,) = opened.losses
    assert isinstance(loss, BusUnavailable)


@pytest.mark.parametrize(
    "end",
    [
        lambda connection: connection.connection_lost(None),
        lambda connection: connection.connection_lost(OSError("cut")),
        lambda connection: connection.abort(BusUnavailable("no answer")),
    ],
)
async def test_a_loss_is_told_once(opened: Opened, end: Callable[[RedisConnection], None]) -> None:
    connection = opened.connection
    connection.send(b"late")
    end(connection)
    connection.abort(BusUnavailable("again"))
    connection.connection_lost(None)
    connection.close()
    (loss,) = opened.losses
    assert connection.ended is loss
    assert not connection.offer((b"x",), 1)
    await asyncio.sleep(0)
    assert opened.transport.writes == []


async def test_many_replies_are_passed_on_in_turns(opened: Opened) -> None:
    """Others get theirs between; order is kept, and no more is read meanwhile."""
    opened.connection.data_received(b"".join(b":%d\r\n" % number for number in range(300)))
    assert opened.replies == list(range(TURN))
    assert not opened.transport.reading
    # A loop may pass on what it had read before it was told to pause.
    opened.connection.data_received(b":300\r\n")
    for _ in range(5):
        await asyncio.sleep(0)
    assert opened.replies == list(range(301))
    assert opened.transport.reading


async def test_what_is_left_when_a_connection_ends_is_dropped(opened: Opened) -> None:
    opened.connection.data_received(b":7\r\n" * 300)
    opened.connection.connection_lost(None)
    await asyncio.sleep(0)
    assert len(opened.replies) == TURN
    assert len(opened.losses) == 1


async def test_a_close_is_no_loss(opened: Opened) -> None:
    opened.connection.close()
    opened.connection.connection_lost(None)
    assert opened.losses == []
    assert opened.transport.aborted


async def test_questions_are_answered_in_their_order() -> None:
    connection, transport = RedisConnection(Address("redis", 6379)), Transport()
    connection.connection_made(transport)
    asked = [asyncio.create_task(connection.ask(b"PING", b"%d" % number)) for number in range(4)]
    await asyncio.sleep(0)
    connection.data_received(b":1\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n-ERR no\r\n")
    connection.data_received(b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
    connection.connection_lost(None)
    first, second, third, fourth = await asyncio.gather(*asked, return_exceptions=True)
    assert first == 1
    assert isinstance(second, hiredis.ReplyError)
    assert third == [b"subscribe", b"c", 1]
    assert isinstance(fourth, BusUnavailable)
    with pytest.raises(BusUnavailable):
        await connection.ask(b"PING")


class Silence:
    """Listens to a link of which it expects nothing."""

    def on_message(self, name: bytes, payload: bytes) -> None:
        raise NotImplementedError

    def on_subscribed(self, link: RedisLink, name: bytes) -> None:
        raise NotImplementedError

    def on_unsubscribed(self, link: RedisLink, name: bytes) -> None:
        raise NotImplementedError

    def on_refused(self, link: RedisLink, error: str) -> None:
        raise NotImplementedError

    def on_lost(self, link: RedisLink, reason: Exception) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("verbs", "expected"),
    [
        (
            PLAIN,
            command(b"PUBLISH", b"c1", b"head" + b"packet")
            + command(b"SUBSCRIBE", b"c1", b"c2")
            + command(b"PING")
            + command(b"UNSUBSCRIBE", b"c1", b"c2")
            + command(b"PING")
            + command(b"PING")
            + command(b"PUBSUB", b"NUMSUB", b"c1"),
        ),
        (
            SHARDED,
            command(b"SPUBLISH", b"c1", b"head" + b"packet")
            + command(b"SSUBSCRIBE", b"c1")
            + command(b"SSUBSCRIBE", b"c2")
            + command(b"PING")
            + command(b"SUNSUBSCRIBE", b"c1")
            + command(b"SUNSUBSCRIBE", b"c2")
            + command(b"PING")
            + command(b"PING")
            + command(b"PUBSUB", b"SHARDNUMSUB", b"c1"),
        ),
    ],
)
async def test_the_commands_of_a_link(opened: Opened, verbs: Verbs, expected: bytes) -> None:
    link = RedisLink(opened.connection, verbs, Silence(), timeout=60)
    answers: list[Exception | None] = []
    assert link.publish(b"c1", b"head", b"packet")
    link.subscribe([b"c1", b"c2"], answers.append)
    link.unsubscribe([b"c1", b"c2"], answers.append)
    link.count(b"c1", lambda subscribers: None)
    await asyncio.sleep(0)
    assert opened.transport.writes == [expected]
    opened.connection.data_received(b":0\r\n+PONG\r\n")
    assert answers == [None]
    link.close()
    assert answers == [None, opened.connection.ended]


class Refused(Silence):
    """Is refused something, and hears of it."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def on_refused(self, link: RedisLink, error: str) -> None:
        self.errors.append(error)


async def test_a_count_is_told_to_nobody_but_who_asked(opened: Opened) -> None:
    counts: list[tuple[str, int]] = []

    def note(who: str, subscribers: int) -> None:
        counts.append((who, subscribers))

    listener = Refused()
    link = RedisLink(opened.connection, PLAIN, listener, timeout=60)
    for each in ("first", "refused", "third"):
        link.count(b"c1", partial(note, each))
    count = b"*2\r\n$2\r\nc1\r\n:%d\r\n"
    opened.connection.data_received(b"+PONG\r\n" + count % 1 + b"+PONG\r\n-NOPERM no\r\n")
    opened.connection.data_received(b"+PONG\r\n" + count % 3)
    assert counts == [("first", 1), ("third", 3)]
    assert listener.errors == ["NOPERM no"]
    link.close()


async def test_an_error_is_told_without_what_it_quotes(opened: Opened) -> None:
    listener = Refused()
    link = RedisLink(opened.connection, PLAIN, listener, timeout=60)
    link.publish(b"c1", b"", b"hush")
    opened.connection.data_received(
        b"-ERR unknown command 'PUBLISH', with args beginning with: 'c1' 'hush' \r\n"
    )
    assert listener.errors == ["ERR unknown command 'PUBLISH'"]
    link.close()
