"""A RedisBus on a bad network, with a hostile neighbour, and with a Redis that does not keep up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

import pytest
import redis

from parley.bus.redis import RedisBus
from parley.bus.redis_connection import MAX_UNSENT
from parley.model import UserId
from parley.redis_options import RedisOptions
from tests.contract.buses import Ends, Node, eventually, owner, redis_ends
from tests.services.proxy import Proxy, Tricks
from tests.services.valkey import RedisServer, ValkeyServer


@pytest.fixture
def options(redis_server: RedisServer) -> RedisOptions:
    return redis_server.options()


@pytest.fixture
async def node(options: RedisOptions) -> AsyncIterator[Node]:
    async with redis_ends(options) as ends:
        yield Node(ends)


def channel(options: RedisOptions, owner: UserId) -> str:
    return options.channel(f"inbox:{owner}")


class TestOneNode:
    async def test_its_own_users_get_pushes_at_once_and_once(self, node: Node) -> None:
        ann, bob = owner(), owner()
        subscribing = asyncio.create_task(node.subscriber.subscribe(ann))
        await asyncio.sleep(0)
        for seq in range(1, 50):
            node.subscriber.publish(ann, seq, b"%d" % seq)
        published = [(ann, seq, b"%d" % seq) for seq in range(1, 50)]
        assert node.arrived == published
        await subscribing
        await node.subscriber.subscribe(bob)
        node.subscriber.publish(ann, 50, b"50")
        await node.carries_something(bob)  # by then, what comes back from Redis has come back
        assert [push for push in node.arrived if push[0] == ann] == [*published, (ann, 50, b"50")]

    async def test_a_failing_callback_does_no_harm(
        self, options: RedisOptions, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("not now")

        async with redis_ends(options) as (publisher, subscriber):
            subscriber.attach(fail, fail)
            ann = owner()
            await subscriber.subscribe(ann)
            publisher.publish(ann, 1, b"1")
            await eventually(lambda: "could not be handed over" in caplog.text)
            assert subscriber.connected

    async def test_five_thousand_users_take_few_commands(self, own_valkey: ValkeyServer) -> None:
        async with redis_ends(own_valkey.options()) as ends:
            node, owners = Node(ends), [owner() for _ in range(5000)]
            await asyncio.gather(*map(node.subscriber.subscribe, owners))
            for each in owners[::500]:
                await node.carries_something(each)
            stats = own_valkey.ask("INFO", "commandstats")
            assert stats["cmdstat_subscribe"]["calls"] < 50


class TestHostileNeighbours:
    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            b"hello",
            b"\x01" + b"\xff" * 16 + b"seq too large",
            b"\x02" + bytes(15) + b"\x01of another version",
            b"cos\nsystem\n(S'true'\ntR.",
            bytes(range(256)) * 4096,
        ],
    )
    async def test_what_is_not_a_push_is_dropped_and_counted(
        self,
        redis_server: RedisServer,
        options: RedisOptions,
        node: Node,
        payload: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        ann = owner()
        await node.subscriber.subscribe(ann)
        for _ in range(10):
            assert redis_server.ask("PUBLISH", channel(options, ann), payload) == 1
        await node.carries_something(ann)
        assert {packet for _, _, packet in node.arrived} == {b"1"}
        assert isinstance(node.subscriber, RedisBus)
        assert node.subscriber.malformed == 10
        assert caplog.text.count("is not Parley's") == 1
        assert node.subscriber.connected
        assert node.restored == 0

    async def test_a_reply_without_an_end_is_not_kept(self, own_valkey: ValkeyServer) -> None:
        own_valkey.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
        options = own_valkey.options()
        async with redis_ends(options) as ends:
            node, ann = Node(ends), owner()
            await node.subscriber.subscribe(ann)
            own_valkey.ask("PUBLISH", channel(options, ann), bytes(40 * 2**20))
            await node.is_restored(1)
            await node.carries_something(ann)


class TestBadNetworks:
    async def test_a_cut(self, redis_server: RedisServer, options: RedisOptions) -> None:
        with Proxy(redis_server.port) as proxy:
            async with redis_ends(redis_server.options(port=proxy.port)) as ends:
                node, ann = Node(ends), owner()
                await node.subscriber.subscribe(ann)
                for times in range(1, 4):
                    proxy.cut()
                    await node.is_restored(times)
                    await node.is_back()
                    await node.carries_something(ann)

    async def test_a_cut_within_a_message(self, redis_server: RedisServer) -> None:
        with Proxy(redis_server.port) as proxy:
            options = redis_server.options()
            publisher = await RedisBus.open(options)
            subscriber = await RedisBus.open(
                redis_server.options(port=proxy.port, prefix=options.prefix)
            )
            node, ann = Node(Ends(publisher, subscriber)), owner()
            await subscriber.subscribe(ann)
            packet = b"x" * 100_000
            proxy.cut_within_reply()
            publisher.publish(ann, 1, packet)
            await node.is_restored(1)
            await node.carries(ann, 2, packet)
            assert {each for _, _, each in node.arrived} == {packet}
            await publisher.close()
            await subscriber.close()

    @pytest.mark.parametrize("seed", range(3))
    async def test_tricks(self, redis_server: RedisServer, seed: int) -> None:
        tricks = Tricks(seed, drop=0.2, double=0.2, delay=0.2)
        with Proxy(redis_server.port, tricks=tricks) as proxy:
            async with redis_ends(redis_server.options(port=proxy.port)) as ends:
                node, owners = Node(ends), [owner() for _ in range(10)]
                await asyncio.gather(*map(node.subscriber.subscribe, owners))
                published = {(each, seq, b"%d" % seq) for each in owners for seq in range(1, 11)}
                for push in published:
                    await node.carries(*push)
                assert set(node.arrived) == published
                assert proxy.played > 0
                assert node.restored == 0

    async def test_what_is_published_in_one_turn_arrives_in_order(self, node: Node) -> None:
        ann = owner()
        await node.subscriber.subscribe(ann)
        published = [(ann, seq, b"%d" % seq) for seq in range(1, 1001)]
        for push in published:
            node.publisher.publish(*push)
        await eventually(lambda: len(node.arrived) == len(published))
        assert node.arrived == published

    async def test_redis_gives_a_slow_reader_up(self, own_valkey: ValkeyServer) -> None:
        own_valkey.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 100kb 0 0")
        options = own_valkey.options()
        async with redis_ends(options) as ends:
            node, ann = Node(ends), owner()
            await node.subscriber.subscribe(ann)
            with redis.Redis(port=own_valkey.port) as neighbour:
                for _ in range(200):  # meanwhile the event loop reads nothing
                    neighbour.publish(channel(options, ann), bytes(100_000))
            await node.is_restored(1)
            await node.carries_something(ann)

    async def test_what_redis_does_not_read_is_dropped(self, redis_server: RedisServer) -> None:
        with Proxy(redis_server.port) as proxy:
            async with redis_ends(redis_server.options(port=proxy.port, timeout=60.0)) as ends:
                node, ann, bus = Node(ends), owner(), ends.publisher
                assert isinstance(bus, RedisBus)
                await node.subscriber.subscribe(ann)
                proxy.pause()
                for seq in range(1, 101):
                    bus.publish(ann, seq, bytes(1_000_000))
                    await asyncio.sleep(0)
                assert bus.dropped >= 100 - 4 * MAX_UNSENT // 1_000_000
                proxy.resume()
                await node.carries_something(ann)
                assert bus.connected
                assert node.restored == 0


class TestTellingOfIt:
    async def test_each_loss_is_told_once_and_each_return(
        self, own_valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        bus = await RedisBus.open(own_valkey.options())
        for losses in range(1, 3):
            own_valkey.kill()
            await eventually(lambda: not bus.connected)
            await asyncio.sleep(0.5)  # some attempts
            own_valkey.start()
            await eventually(lambda: bus.connected)
            levels = [
                record.levelname
                for record in caplog.records
                if "can't be repaired yet" not in record.getMessage()
            ]
            assert levels == ["WARNING", "INFO"] * losses
            assert bus.losses == losses
        await bus.close()

    async def test_what_nobody_but_the_operator_can_mend(
        self, own_valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with redis_ends(own_valkey.options()) as ends:
            node, ann = Node(ends), owner()
            await node.subscriber.subscribe(ann)
            own_valkey.ask("ACL", "SETUSER", "default", "resetpass", ">changed")
            with redis.Redis(port=own_valkey.port, password="changed") as operator:
                operator.execute_command("CLIENT", "KILL", "SKIPME", "yes")
                await node.is_away()
                await eventually(lambda: "until somebody helps" in caplog.text)
                assert "NOAUTH" in caplog.text
                operator.execute_command("ACL", "SETUSER", "default", "nopass")
            await node.is_restored(1)
            await node.is_back()
            await node.carries_something(ann)

    async def test_a_permission_that_is_taken_away(self, own_valkey: ValkeyServer) -> None:
        options = own_valkey.options(username="parley", password="secret")
        permissions = ("on", ">secret", f"&{options.prefix}*", "+@all")
        own_valkey.ask("ACL", "SETUSER", "parley", *permissions)
        async with redis_ends(options) as ends:
            node, ann, bob = Node(ends), owner(), owner()
            await node.subscriber.subscribe(ann)
            own_valkey.ask("ACL", "SETUSER", "parley", "-subscribe")
            await node.subscriber.subscribe(bob)
            await node.is_away()
            own_valkey.ask("ACL", "SETUSER", "parley", "+subscribe")
            await node.is_restored(1)
            for each in (ann, bob):
                await node.carries_something(each)
            # What the attempts opened is closed.
            await eventually(
                lambda: own_valkey.ask("CLIENT", "LIST").count(b"name=parley ") == len(ends)
            )

    async def test_being_idle_is_no_loss(self, redis_server: RedisServer) -> None:
        async with redis_ends(redis_server.options(timeout=0.5)) as ends:
            node = Node(ends)
            await asyncio.sleep(2)
            assert node.subscriber.connected
            assert node.restored == 0

    async def test_being_held_up_is_no_loss(self, redis_server: RedisServer) -> None:
        async with redis_ends(redis_server.options(timeout=0.5)) as ends:
            node, ann = Node(ends), owner()
            await node.subscriber.subscribe(ann)
            for _ in range(3):
                time.sleep(1)  # noqa: ASYNC251 - nothing runs meanwhile
                await node.carries_something(ann)
            assert node.subscriber.connected
            assert node.restored == 0
