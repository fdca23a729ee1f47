from __future__ import annotations

import asyncio
import logging
import uuid

import pytest

from parley.cluster import keys
from parley.cluster.node import Node
from parley.cluster.presence import everyone, who
from parley.cluster.redis_client import Command, RedisClient
from parley.cluster.registry import live_nodes
from parley.errors import BusBroken, ListenError
from parley.model import UserId
from parley.socketio.peers import NoPeers, PeerGone, PeerUnreachable
from tests.services.valkey import RedisServer, ValkeyServer
from tests.unit.cluster.nodes import node, node_options, node_process
from tests.unit.cluster.waiting import eventually

ANN = UserId(str(uuid.uuid4()))


async def names(redis: RedisClient) -> list[str]:
    """Of the nodes that live."""
    return [record.name for record in await live_nodes(redis)]


async def connected(redis: RedisClient) -> set[tuple[UserId, str]]:
    return {(user, record.name) async for user, record in everyone(redis)}


async def test_a_node_is_known_from_start_to_close(any_redis: RedisClient) -> None:
    made = await Node.open(any_redis.options, node_options(name="the-node"))
    made.presence.joined(ANN)
    assert await names(any_redis) == []

    await made.start(NoPeers(), {})
    assert await names(any_redis) == ["the-node"]
    assert [each.name for each in await who(any_redis, ANN)] == ["the-node"]

    await made.close()
    left = await any_redis.run(
        ("EXISTS", keys.nodes(any_redis.prefix)),
        ("EXISTS", keys.record(any_redis.prefix, "the-node")),
        ("EXISTS", keys.online(any_redis.prefix, "the-node")),
    )
    assert left == [0, 0, 0]


async def test_it_goes_on_saying_that_it_lives(redis: RedisClient) -> None:
    async with node(redis.options, lifetime=0.5, name="the-node") as made:
        await asyncio.sleep(1.0)
        assert await names(redis) == ["the-node"]

        made.presence.joined(ANN)
        await eventually(lambda: connected(redis), {(ANN, "the-node")})
        made.presence.left(ANN)
        await eventually(lambda: connected(redis), set())


async def test_siblings_ask_one_another(redis: RedisClient) -> None:
    async def count(body: bytes) -> bytes:
        return b"42 " + body

    async with (
        node(redis.options) as asker,
        node(redis.options, methods={"metrics": count}, name="sibling1") as _,
        node(redis.options, group="another machine") as _,
    ):
        assert await asker.siblings() == ["sibling1"]
        assert await asker.peers.ask("sibling1", "metrics", b"of you") == b"42 of you"


async def test_a_node_that_was_killed_is_gone(redis: RedisClient) -> None:
    async with node(redis.options) as asker:
        with node_process(redis.options, ANN, lifetime=0.5) as other:
            assert await asker.peers.ask(other.name, "echo", b"alive") == b"alive"
            assert [record.name for record in await who(redis, ANN)] == [other.name]
            under_way = asyncio.create_task(asker.peers.ask(other.name, "hold", b""))
            await asyncio.sleep(0.05)
            other.kill()

            with pytest.raises(PeerUnreachable):  # it may have been carried out
                await under_way
            with pytest.raises(PeerGone):  # although its record may still be there
                await asker.peers.ask(other.name, "echo", b"")
            await eventually(lambda: who(redis, ANN), [])
            await eventually(asker.siblings, [])


async def test_a_node_that_hangs_is_noticed_and_found_again(redis: RedisClient) -> None:
    async with node(redis.options) as asker:
        with node_process(redis.options, ANN, lifetime=0.5) as other:
            under_way = asyncio.create_task(asker.peers.ask(other.name, "hold", b""))
            await asyncio.sleep(0.05)
            other.pause()

            with pytest.raises(PeerUnreachable, match="silent"):
                await under_way
            await eventually(lambda: who(redis, ANN), [])

            other.resume()
            await eventually(lambda: connected(redis), {(ANN, other.name)})
            await eventually(lambda: answer(asker, other.name), b"back")


async def answer(asker: Node, name: str) -> bytes | None:
    try:
        return await asker.peers.ask(name, "echo", b"back")
    except (PeerGone, PeerUnreachable):
        return None


class TestRedisAway:
    async def test_it_restarted_empty(
        self, own_valkey: ValkeyServer, own_redis: RedisClient
    ) -> None:
        async with node(own_redis.options, name="the-node") as made:
            made.presence.joined(ANN)
            await eventually(lambda: connected(own_redis), {(ANN, "the-node")})
            own_valkey.kill()
            own_valkey.start()

            await eventually(lambda: connected(own_redis), {(ANN, "the-node")})

    async def test_what_is_said_about_it(
        self,
        own_valkey: ValkeyServer,
        own_redis: RedisClient,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.INFO, "parley.cluster.node")
        async with node(own_redis.options, name="the-node"):
            for _ in range(2):
                caplog.clear()
                own_valkey.kill()
                await asyncio.sleep(0.3)  # several attempts
                own_valkey.start()
                await eventually(lambda: names(own_redis), ["the-node"])
                await eventually(lambda: logged(caplog), 2)

                told = [(record.levelname, record.getMessage()) for record in caplog.records]
                assert told[0][0] == "WARNING"
                assert told[0][1].startswith("Redis is away, others may not find this node: ")
                assert told[1] == ("INFO", "Redis is back")

    async def test_a_node_starts_without_it(
        self, own_valkey: ValkeyServer, own_redis: RedisClient
    ) -> None:
        own_valkey.kill()
        async with node(own_redis.options, name="the-node") as made:
            made.presence.joined(ANN)
            own_valkey.start()

            await eventually(lambda: connected(own_redis), {(ANN, "the-node")})

    @pytest.mark.parametrize("how", ["killed", "paused"])
    async def test_a_node_ends_without_it(self, own_valkey: ValkeyServer, how: str) -> None:
        made = await Node.open(own_valkey.options(timeout=60.0), node_options())
        await made.start(NoPeers(), {})
        if how == "killed":
            own_valkey.kill()
        else:
            own_valkey.pause()

        await made.close()

    async def test_what_nobody_thought_of_does_not_end_the_node(
        self,
        redis: RedisClient,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async with node(redis.options, name="the-node", lifetime=0.5):
            with monkeypatch.context() as patched:

                async def fail(client: RedisClient, *commands: Command) -> None:
                    raise KeyError("a fault of ours")

                patched.setattr(RedisClient, "run", fail)
                await asyncio.sleep(0.3)
            await eventually(lambda: names(redis), ["the-node"])

        assert "Redis could not be told that this node lives" in caplog.text


async def logged(caplog: pytest.LogCaptureFixture) -> int:
    return len(caplog.records)


async def test_closing_early_and_twice(redis_server: RedisServer) -> None:
    never_started = await Node.open(redis_server.options(), node_options())
    await never_started.close()
    await never_started.close()

    async with node(redis_server.options()) as started:
        await started.close()


async def test_after_the_end_its_port_is_free(redis_server: RedisServer) -> None:
    options = redis_server.options()
    async with node(options) as first:
        port = first.port
    async with node(options, ports=(port,)) as second:
        assert second.port == port


async def test_a_successor_takes_the_port_that_is_free(redis_server: RedisServer) -> None:
    options = redis_server.options()
    async with node(options) as predecessor, node(options) as other:
        ports = (predecessor.port, other.port)
        with pytest.raises(ListenError, match=str(other.port)):
            await Node.open(options, node_options(ports=ports))
        await other.close()
        async with node(options, ports=ports) as successor:
            assert successor.port == other.port


async def test_a_redis_that_does_not_permit_it(own_valkey: ValkeyServer) -> None:
    own_valkey.ask("ACL", "SETUSER", "parley", "on", ">secret", "~other:*", "+@all")
    options = own_valkey.options(username="parley", password="secret")
    refused = await Node.open(options, node_options())
    with pytest.raises(BusBroken, match="does not let Parley keep its keys"):
        await refused.start(NoPeers(), {})
    await refused.close()
