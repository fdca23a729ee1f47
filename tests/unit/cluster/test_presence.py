from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable

import pytest

from parley.cluster import keys
from parley.cluster.presence import RedisPresence, everyone, who
from parley.cluster.redis_client import RedisClient, RedisUnavailable
from parley.cluster.registry import NodeRecord, Registry
from parley.model import UserId
from tests.services.valkey import RedisServer, ValkeyServer
from tests.unit.cluster.test_registry import LONG, SHORT, record
from tests.unit.cluster.waiting import eventually


def users(count: int) -> list[UserId]:
    return [UserId(str(uuid.uuid4())) for _ in range(count)]


def presence(redis: RedisClient, name: str = "the-node", lifetime: float = LONG) -> RedisPresence:
    return RedisPresence(redis, name, lifetime=lifetime)


async def known(redis: RedisClient, name: str = "the-node") -> set[str]:
    """Whom Redis takes for connected."""
    (members,) = await redis.run(("SMEMBERS", keys.online(redis.prefix, name)))
    return {member.decode() for member in members}


async def test_redis_follows_who_comes_and_goes(any_redis: RedisClient) -> None:
    ann, bob, eve = users(3)
    here = presence(any_redis)
    here.joined(ann)
    here.joined(bob)
    assert await known(any_redis) == set()

    await here.publish()
    assert await known(any_redis) == {ann, bob}

    here.left(ann)
    here.joined(eve)
    here.left(eve)
    here.left(bob)
    here.joined(bob)
    await here.publish()
    assert await known(any_redis) == {bob}

    here.left(bob)
    await here.publish()
    assert await known(any_redis) == set()


async def test_nobody(redis: RedisClient) -> None:
    here = presence(redis)

    await here.publish()
    await here.publish()

    assert await known(redis) == set()


async def test_thousands_at_once(any_redis: RedisClient) -> None:
    crowd = users(2_500)
    here = presence(any_redis)
    for user in crowd:
        here.joined(user)
    await here.publish()
    assert await known(any_redis) == set(crowd)

    more = users(2_500)
    for user in more:
        here.joined(user)
    for user in crowd:
        here.left(user)
    await here.publish()
    assert await known(any_redis) == set(more)
    await here.withdraw()


async def test_the_set_lives_no_longer_than_its_node(redis: RedisClient) -> None:
    here = presence(redis, lifetime=SHORT)
    here.joined(*users(1))
    await here.publish()

    await eventually(lambda: known(redis), set())


@pytest.mark.parametrize("changes", [True, False])
async def test_the_set_lives_on_with_its_node(redis: RedisClient, changes: bool) -> None:
    key = keys.online(redis.prefix, "the-node")
    here = presence(redis)
    here.joined(*users(1))
    await here.publish()
    (soon,) = await redis.run(("PEXPIRE", key, 1000))
    assert soon == 1

    if changes:
        here.joined(*users(1))
    await here.publish()

    (remaining,) = await redis.run(("PTTL", key))
    assert remaining > 1000


async def test_withdrawn(redis: RedisClient) -> None:
    here = presence(redis)
    here.joined(*users(1))
    await here.publish()

    await here.withdraw()

    assert await known(redis) == set()


@pytest.mark.parametrize(
    ("command", "arguments"), [("DEL", ()), ("SADD", ("somebody",)), ("SPOP", ()), ("EXPIRE", (0,))]
)
async def test_whatever_happens_to_the_set_is_put_right(
    redis: RedisClient, command: str, arguments: tuple[str | int, ...]
) -> None:
    ann, bob = users(2)
    here = presence(redis)
    here.joined(ann)
    await here.publish()
    key = keys.online(redis.prefix, "the-node")
    await redis.run((command, key, *arguments))

    here.joined(bob)
    await here.publish()

    assert await known(redis) == {ann, bob}


async def test_a_redis_that_was_away_and_forgot_everything(
    own_valkey: ValkeyServer, own_redis: RedisClient
) -> None:
    stayed, came, went = users(3)
    here = presence(own_redis)
    here.joined(stayed)
    here.joined(went)
    await here.publish()
    own_valkey.kill()
    here.joined(came)
    here.left(went)
    with pytest.raises(RedisUnavailable):
        await here.publish()
    own_valkey.start()

    await here.publish()

    assert await known(own_redis) == {stayed, came}


async def test_what_redis_refused_is_told_again(
    own_valkey: ValkeyServer, own_redis: RedisClient
) -> None:
    went, came = users(2)
    here = presence(own_redis)
    here.joined(went)
    await here.publish()
    own_valkey.ask("CONFIG", "SET", "maxmemory", "1")
    here.left(went)
    here.joined(came)
    with pytest.raises(RedisUnavailable, match="maxmemory"):
        await here.publish()
    own_valkey.ask("CONFIG", "SET", "maxmemory", "0")

    await here.publish()

    assert await known(own_redis) == {came}


async def test_nothing_is_told_twice(own_valkey: ValkeyServer, own_redis: RedisClient) -> None:
    here = presence(own_redis)
    for user in users(3):
        here.joined(user)
        await here.publish()
    await here.publish()

    said = own_valkey.ask("INFO", "commandstats")
    assert said["cmdstat_sadd"]["calls"] == 3
    assert said["cmdstat_del"]["calls"] == 1


@pytest.mark.parametrize("forgotten", [False, True])
async def test_changes_while_redis_is_slow_are_not_lost(
    own_valkey: ValkeyServer, own_redis: RedisClient, forgotten: bool
) -> None:
    early, late, gone = users(3)
    here = presence(own_redis)
    here.joined(gone)
    await here.publish()
    here.joined(early)
    if forgotten:
        own_valkey.ask("FLUSHALL")
    own_valkey.pause()
    publishing = asyncio.create_task(here.publish())
    await asyncio.sleep(0.05)
    here.joined(late)
    here.left(gone)
    own_valkey.resume()
    await publishing

    await here.publish()

    assert await known(own_redis) == {early, late}


class TestReaders:
    async def nodes(
        self, redis: RedisClient, *connected: Iterable[UserId]
    ) -> tuple[list[NodeRecord], list[RedisPresence]]:
        """A node for each of ``connected``, who are its users."""
        records, presences = [], []
        for number, crowd in enumerate(connected):
            own = record(started=number)
            await Registry(redis, own, lifetime=LONG).publish()
            here = presence(redis, own.name)
            for user in crowd:
                here.joined(user)
            await here.publish()
            records.append(own)
            presences.append(here)
        return records, presences

    async def test_who(self, any_redis: RedisClient) -> None:
        ann, bob, eve = users(3)
        (first, second, _), _ = await self.nodes(any_redis, [ann, bob], [ann], [])

        assert await who(any_redis, ann) == [first, second]
        assert await who(any_redis, bob) == [first]
        assert await who(any_redis, eve) == []

    async def test_everyone(self, any_redis: RedisClient) -> None:
        crowd = users(2_500)
        (first, second), _ = await self.nodes(any_redis, crowd, crowd[:1])

        found = {(user, node.name) async for user, node in everyone(any_redis)}

        expected = {(user, first.name) for user in crowd} | {(crowd[0], second.name)}
        assert found == expected

    async def test_no_nodes(self, any_redis: RedisClient) -> None:
        assert await who(any_redis, *users(1)) == []
        assert [each async for each in everyone(any_redis)] == []

    async def test_users_of_a_node_that_was_killed_do_not_count(self, redis: RedisClient) -> None:
        ann, *_ = users(1)
        (alive, killed), _ = await self.nodes(redis, [ann], [ann])
        await redis.run(("DEL", keys.record(redis.prefix, killed.name)))

        assert await who(redis, ann) == [alive]
        assert [each async for each in everyone(redis)] == [(ann, alive)]

    async def test_users_of_others_on_the_same_redis_do_not_count(
        self, redis: RedisClient, redis_server: RedisServer
    ) -> None:
        ann, *_ = users(1)
        await self.nodes(redis, [ann])
        other = RedisClient(redis_server.options())

        assert await who(other, ann) == []
        assert [each async for each in everyone(other)] == []
        await other.close()
