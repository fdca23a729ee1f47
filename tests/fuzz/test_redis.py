"""What comes from Redis: payloads that anybody may publish, replies of a server that is broken."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.bus.redis import RedisBus
from parley.bus.redis_channels import Channel
from parley.bus.redis_company import _MANY
from parley.bus.redis_connection import Address, RedisConnection
from parley.bus.redis_link import PLAIN, RedisLink
from parley.bus.redis_payload import MAX_SEQ, NOTICE, unpack
from parley.bus.redis_slots import SLOTS, primaries
from parley.cluster.redis_client import RedisClient, RedisUnavailable
from parley.cluster.registry import live_nodes
from parley.errors import BusBroken, BusUnavailable
from parley.model import UserId
from parley.redis_options import RedisOptions
from tests.unit.bus.company import Server
from tests.unit.bus.test_redis_connection import Transport

from .inputs import cuts, pieces
from .profile import budget
from .servers import serving
from .watching import no_errors

OWNER = UserId("00000000-0000-4000-8000-000000000000")
NAME = b"parley:0:inbox:" + OWNER.encode()
OPTIONS = RedisOptions(host="127.0.0.1", port=1, timeout=5.0)

payloads = st.binary(max_size=40) | st.binary(max_size=30).map(lambda rest: b"\x01" + rest)


def text(content: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(content), content)


_names = st.sampled_from([NAME, b"parley:0:inbox:nodes", b"", b"message"])
_leaves = st.one_of(
    (payloads | _names).map(text),
    st.sampled_from([b"message", b"subscribe", b"unsubscribe", b"smessage", b"PONG"]).map(text),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: b":%d\r\n" % number),
    st.sampled_from(
        [b"+OK\r\n", b"+PONG\r\n", b"_\r\n", b"$-1\r\n", b"*-1\r\n", b"#t\r\n", b",inf\r\n",
         b",nan\r\n",
         b"(" + b"9" * 5_000 + b"\r\n", b"=7\r\ntxt:abc\r\n", b"-MOVED 1 a:1\r\n", b"-\r\n",
         b"-CLUSTERDOWN x\r\n", b"-NOPERM \xff\r\n"]
    ),
)  # fmt: skip


def aggregate(kind: bytes, items: list[bytes]) -> bytes:
    count = len(items) // 2 if kind == b"%" else len(items)
    if kind == b"%":
        items = items[: 2 * count]
    return kind + b"%d\r\n" % count + b"".join(items)


replies = st.recursive(
    _leaves,
    lambda inner: st.builds(
        aggregate, st.sampled_from([b"*", b">", b"~", b"%"]), st.lists(inner, max_size=5)
    ),
    max_leaves=8,
)
pushes = st.lists(_leaves, max_size=4).map(lambda items: aggregate(b">", items))
messages = payloads.map(
    lambda payload: aggregate(b">", [text(b"message"), text(NAME), text(payload)])
)
_ANNOUNCED = re.compile(rb"[*>~%|]\d{5}")
"""A list of so many elements.  The parser makes room for all of them at once, and can't be told not
to: a server that announces 10**9 is beyond what a client can do about it."""
streams = (
    st.lists(messages | pushes | replies | st.binary(max_size=20), max_size=6)
    .map(b"".join)
    .filter(lambda data: not _ANNOUNCED.search(data))
)


@budget(300)
@given(payloads | st.none() | st.integers() | st.lists(st.binary()))
def test_any_payload(payload: object) -> None:
    push = unpack(payload)
    assert push is None or NOTICE <= push[0] <= MAX_SEQ


class Bus:
    """A bus on which one user is connected, and the link by which it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.bus = RedisBus(OPTIONS)
        self.bus.attach(lambda *push: self.heard.append(push), lambda: None)
        self.bus.listen(lambda *notice: self.heard.append(notice))
        self.connection = RedisConnection(Address("redis", 6379))
        self.transport = Transport()
        self.connection.connection_made(self.transport)
        self.link = RedisLink(self.connection, PLAIN, self.bus, 5.0)
        channel = self.bus._by_name[NAME] = Channel(OWNER, NAME)
        channel.wanted = channel.standing = True
        channel.link = self.link

    def close(self) -> None:
        self.link.close()


@budget(200)
@given(streams, cuts)
@example(aggregate(b">", []), [60])
@example(aggregate(b">", [text(b"message")]), [60])
@example(aggregate(b">", [text(b"message"), aggregate(b"*", []), b":1\r\n"]), [60])
@example(aggregate(b">", [text(b"message"), text(NAME), b":1\r\n"]), [60])
@example(aggregate(b"*", [text(b"one")]), [60])
@example(b"*1\r\n" * 5_000, [60])
def test_any_stream_on_a_link(data: bytes, sizes: list[int]) -> None:
    """It is understood, or the link is given up for one that may do better."""

    async def main() -> None:
        bus = Bus()
        bus.link.count(b"x", lambda nodes: bus.heard.append(nodes + 0))
        for piece in pieces(data, sizes):
            bus.connection.data_received(piece)
            if bus.connection.ended is not None:
                break
        ended = bus.connection.ended
        assert ended is None or isinstance(ended, BusUnavailable | BusBroken)
        assert bus.transport.aborted == (ended is not None)
        bus.close()

    asyncio.run(main())


async def test_those_who_say_that_they_are_there_take_a_bounded_room() -> None:
    server = Server()
    for _ in range(_MANY + 100):
        server.hear(b"here")
    assert len(server.company._answered) == _MANY


slots = st.recursive(
    st.none() | st.integers(-5, 20_000) | st.binary(max_size=5) | st.sampled_from([2**40, b"host"]),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


@budget(100)
@given(slots | st.lists(st.tuples(st.integers(-1, SLOTS), st.integers(-1, SLOTS), slots).map(list)))
@example([[0, 2**40, [b"host", 1]]])
@example([[0, SLOTS, [b"host", 1]]])
@example([[5, 4, [b"host", 1]]])
@example([[0, 1, [b"\xff", 1]]])
@example([[0, 1, [7, 1]]])
def test_any_answer_about_slots(reply: object) -> None:
    with contextlib.suppress(ValueError):
        servers = primaries(reply, Address("asked", 1))  # type: ignore[arg-type]
        assert len(servers) == SLOTS


# A server that answers anything, over a real socket

HELLO = b"%2\r\n" + text(b"mode") + text(b"standalone") + text(b"role") + text(b"master")
OLD_HELLO = b"*4\r\n" + text(b"mode") + text(b"standalone") + text(b"role") + text(b"master")
CLUSTER, OLD_CLUSTER = (
    hello.replace(text(b"standalone"), text(b"cluster")) for hello in (HELLO, OLD_HELLO)
)
scripts = st.lists(
    replies | st.sampled_from([HELLO, CLUSTER, OLD_HELLO, OLD_CLUSTER, b"+OK\r\n", b":0\r\n"]),
    max_size=8,
)


@contextlib.asynccontextmanager
async def redis(script: list[bytes]) -> AsyncIterator[RedisOptions]:
    """Answers as the script has it, then hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in script:
            if not await reader.read(10_000):
                break
            writer.write(reply)
            await writer.drain()

    async with serving(talk) as port:
        yield RedisOptions(host="127.0.0.1", port=port, timeout=0.2)


@budget(15)
@given(scripts)
@example([HELLO, b"*1\r\n", b":1\r\n"])
@example([CLUSTER, b"+OK\r\n" * 5, aggregate(b"*", [b":1\r\n"]) * 5])
@example([])
def test_a_bus_opens_on_any_server_or_says_why_not(script: list[bytes]) -> None:
    async def main() -> None:
        async with redis(script) as options:
            try:
                bus = await RedisBus.open(options)
            except (BusUnavailable, BusBroken):
                return
            await bus.close()

    with no_errors("asyncio"):
        asyncio.run(main())


@budget(20)
@given(scripts)
@example([OLD_HELLO, b"*1\r\n:1\r\n"])
@example([b":1\r\n"])
@example([HELLO])
@example([OLD_HELLO, b":1\r\n"])
@example([OLD_CLUSTER, b":1\r\n"])
@example([OLD_CLUSTER, b"*0\r\n"])
def test_a_command_is_answered_or_redis_counts_as_away(script: list[bytes]) -> None:
    async def main() -> None:
        async with redis(script) as options:
            client = RedisClient(options)
            with contextlib.suppress(RedisUnavailable):
                await client.run(("GET", "parley:x"))
            with contextlib.suppress(RedisUnavailable):
                await live_nodes(client)
            await client.close()

    with no_errors("asyncio"):
        asyncio.run(main())


@pytest.mark.parametrize("payload", [b"", b"\x01" * 17, b"\xff" * 17, b"{}" * 20])
async def test_a_payload_that_is_not_ours_is_counted(payload: bytes) -> None:
    bus = Bus()
    message = aggregate(b">", [text(b"message"), text(NAME), text(payload)])
    bus.connection.data_received(message)
    assert (bus.bus.malformed == 1) != bool(bus.heard)
    bus.close()
