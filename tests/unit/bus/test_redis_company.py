"""A node that is alone publishes nothing; as soon as it isn't, everything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from parley.bus import redis as redis_bus
from parley.bus import redis_company
from parley.bus.redis import RedisBus
from parley.bus.redis_connection import Address
from parley.bus.redis_routes import RedisRoutes
from parley.errors import BusUnavailable
from parley.redis_options import RedisOptions
from tests.contract.buses import Ends, Node, eventually, owner, redis_ends
from tests.services.valkey import RedisServer, ValkeyCluster, ValkeyServer
from tests.unit.bus.company import Server, published, server_of_one, settled


@pytest.fixture
def options(redis_server: RedisServer) -> RedisOptions:
    return redis_server.options()


def alone(bus: RedisBus) -> bool:
    return bus._company.alone


@contextmanager
def silent_neighbour(server: ValkeyServer, options: RedisOptions) -> Iterator[None]:
    """Somebody who counts as a node, and never answers."""
    # Of the library's methods just this one has no types.
    silent = redis.Redis(port=server.port).pubsub()  # type: ignore[no-untyped-call]
    with silent:
        silent.subscribe(options.channel("inbox:nodes"))
        assert silent.get_message(timeout=10) is not None
        yield


async def test_one_that_is_alone_publishes_nothing(own_valkey: ValkeyServer) -> None:
    bus = await RedisBus.open(own_valkey.options())
    node, ann = Node(Ends(bus, bus)), owner()
    await bus.subscribe(ann)
    before = published(own_valkey)
    for seq in range(1, 11):
        bus.publish(ann, seq, b"push")
        bus.publish(owner(), seq, b"to nobody")
    await settled(bus)
    assert published(own_valkey) == before
    assert node.arrived == [(ann, seq, b"push") for seq in range(1, 11)]
    assert bus.dropped == 0
    await bus.close()


@pytest.mark.parametrize("kind", ["single", "cluster"])
async def test_one_hears_everything_that_is_published_after_it_was_opened(
    kind: str, request: pytest.FixtureRequest
) -> None:
    server: RedisServer | ValkeyCluster = request.getfixturevalue(
        "redis_server" if kind == "single" else "redis_cluster"
    )
    for _ in range(20):
        async with redis_ends(server.options(prefix=f"{owner()}:")) as ends:
            node, ann = Node(ends), owner()
            await ends.subscriber.subscribe(ann)
            ends.publisher.publish(ann, 1, b"push")
            await eventually(lambda: len(node.arrived) == 1)  # noqa: B023 - it is waited for


async def test_others_that_left_are_missed_after_a_while(
    own_valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_bus, "_STEADY", 0.05)
    options = own_valkey.options()
    first = await RedisBus.open(options)
    assert alone(first)
    second = await RedisBus.open(options)
    assert not alone(first)
    assert not alone(second)
    await asyncio.sleep(0.2)
    assert not alone(first)
    await second.close()
    await eventually(lambda: alone(first))
    third = await RedisBus.open(options)
    assert not alone(first)
    for bus in (first, third):
        await bus.close()


async def test_a_lost_redis_leaves_nobody_sure_of_being_alone(own_valkey: ValkeyServer) -> None:
    bus = await RedisBus.open(own_valkey.options())
    node = Node(Ends(bus, bus))
    own_valkey.kill()
    await node.is_away()
    assert not alone(bus)
    own_valkey.start()
    await node.is_restored(1)
    assert alone(bus)
    await bus.close()


async def test_two_that_lost_redis_find_one_another(own_valkey: ValkeyServer) -> None:
    async with redis_ends(own_valkey.options()) as ends:
        node, ann = Node(ends), owner()
        await ends.subscriber.subscribe(ann)
        own_valkey.kill()
        await node.is_away()
        own_valkey.start()
        await node.is_restored(1)
        await node.is_back()
        await node.carries_something(ann)


async def test_one_that_never_answers_is_company_but_nobody_to_wait_for(
    own_valkey: ValkeyServer,
) -> None:
    options = own_valkey.options()
    with silent_neighbour(own_valkey, options):
        bus = await RedisBus.open(options)
        before = published(own_valkey)
        bus.publish(owner(), 1, b"push")
        await settled(bus)
        assert published(own_valkey) == before + 1
        await bus.close()


async def test_a_redis_that_dies_while_others_are_waited_for_is_away(
    own_valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options = own_valkey.options()
    with silent_neighbour(own_valkey, options):
        opening = asyncio.create_task(RedisBus.open(options))
        channel = options.channel("inbox:nodes")
        await eventually(lambda: own_valkey.ask("PUBSUB", "NUMSUB", channel)[1] == 2)
        own_valkey.kill()
        bus = await opening
    assert not bus.connected
    own_valkey.start()
    await eventually(lambda: bus.connected)
    assert bus.losses == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    await bus.close()


async def test_a_link_that_is_lost_while_others_are_made_counts_as_a_loss(
    redis_cluster: ValkeyCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    link_all = RedisRoutes._link_all

    async def link_and_lose(self: RedisRoutes, servers: list[Address | None]) -> None:
        await link_all(self, servers)
        monkeypatch.undo()  # once is enough
        self.links[0]._connection.abort(BusUnavailable("cut"))

    monkeypatch.setattr(RedisRoutes, "_link_all", link_and_lose)
    bus = await RedisBus.open(redis_cluster.options())
    assert not bus.connected
    await eventually(lambda: bus.connected)
    assert bus.losses == 1
    await bus.close()


@pytest.mark.parametrize("noise", [b"", b"noise", b"\1" + 8 * b"x" + b"good-bye"])
async def test_noise_is_not_company(own_valkey: ValkeyServer, noise: bytes) -> None:
    options = own_valkey.options()
    bus = await RedisBus.open(options)
    own_valkey.ask("PUBLISH", options.channel("inbox:nodes"), noise)
    await eventually(lambda: bus.malformed == 1)
    assert alone(bus)
    await bus.close()


async def test_one_that_may_not_count_publishes(own_valkey: ValkeyServer) -> None:
    permitted = ("+publish", "+subscribe", "+unsubscribe", "+ping", "+select")
    own_valkey.ask("ACL", "SETUSER", "parley", "on", ">secret", "allchannels", *permitted)
    options = own_valkey.options(username="parley", password="secret")
    async with redis_ends(options) as ends:
        node, ann = Node(ends), owner()
        await ends.subscriber.subscribe(ann)
        await node.carries_something(ann)


class TestCounts:
    """Which counts are believed."""

    @pytest.fixture
    async def server(self) -> Server:
        return await server_of_one()

    async def test_not_one_that_was_asked_before_a_loss(self, server: Server) -> None:
        server.company.count()
        server.company.lose()
        server.answer(1)
        assert not server.company.alone

    async def test_not_one_that_was_asked_before_it_met_the_others_anew(
        self, server: Server
    ) -> None:
        server.company.count()
        meeting = asyncio.create_task(server.company.meet())
        await eventually(lambda: len(server.asked) == 2)
        server.answer(1)
        assert not server.company.alone
        server.answer(1)
        await meeting
        assert server.company.alone

    async def test_not_one_of_a_meeting_that_a_loss_has_disturbed(self) -> None:
        server = Server()
        meeting = asyncio.create_task(server.company.meet())
        await asyncio.sleep(0)  # the channel is about to be joined
        assert not server.asked
        server.company.lose()
        await eventually(lambda: bool(server.asked))
        server.answer(1)
        assert not server.company.alone
        meeting.cancel()

    async def test_not_one_without_the_node_that_asks(self, server: Server) -> None:
        server.company.count()
        server.answer(0)
        assert not server.company.alone

    async def test_nobody_is_met_by_such_a_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(redis_company, "_PATIENCE", 60.0)
        server = Server()
        meeting = asyncio.create_task(server.company.meet())
        await eventually(lambda: bool(server.asked))
        server.answer(0)
        await asyncio.wait((meeting,), timeout=0.05)
        assert not meeting.done()
        assert not server.company.alone
        meeting.cancel()
