from __future__ import annotations

import asyncio

import msgspec
import pytest

from parley.cluster import keys
from parley.cluster.redis_client import RedisClient, RedisUnavailable
from parley.cluster.registry import NodeRecord, Registry, live_nodes, new_name
from parley.socketio.peers import NODE_LENGTH
from tests.services.valkey import RedisServer, ValkeyServer
from tests.unit.cluster.waiting import eventually

LONG = 60.0
SHORT = 0.1


def record(group: str = "one machine", started: int = 1) -> NodeRecord:
    return NodeRecord(
        name=new_name(),
        address="192.0.2.7",
        port=4321,
        key=bytes(range(32)),
        group=group,
        started=started,
        version="1.2.3",
    )


def registry(redis: RedisClient, own: NodeRecord | None = None, lifetime: float = LONG) -> Registry:
    return Registry(redis, own or record(), lifetime=lifetime)


def test_names_fit_into_session_ids() -> None:
    names = {new_name() for _ in range(1000)}

    assert {len(name) for name in names} == {NODE_LENGTH}
    assert len(names) == 1000


def test_a_record_shows_no_key() -> None:
    own = record()

    assert repr(own) == f"NodeRecord({own.name} at 192.0.2.7, port 4321)"


async def test_a_node_is_found_from_its_first_word_to_its_last(any_redis: RedisClient) -> None:
    own = record()
    mine, another = registry(any_redis, own), registry(any_redis)
    assert await another.find(own.name) is None

    await mine.publish()
    assert await another.find(own.name) == own
    assert await live_nodes(any_redis) == [own]

    await mine.withdraw()
    assert await another.find(own.name) is None
    assert await live_nodes(any_redis) == []


async def test_a_node_that_says_nothing_more_is_forgotten(any_redis: RedisClient) -> None:
    own = record()
    await registry(any_redis, own, lifetime=SHORT).publish()

    await eventually(lambda: registry(any_redis).find(own.name), None)


async def test_a_node_that_goes_on_is_not_forgotten(redis: RedisClient) -> None:
    own = record()
    await registry(redis, own, lifetime=SHORT).publish()
    await registry(redis, own, lifetime=LONG).publish()

    (remaining,) = await redis.run(("PTTL", keys.record(redis.prefix, own.name)))
    assert remaining > SHORT * 1000


async def test_nodes_are_listed_by_age_and_what_is_left_over_is_removed(
    any_redis: RedisClient,
) -> None:
    old, young, killed = record(started=1), record(started=2), record()
    for own in (young, old, killed):
        await registry(any_redis, own).publish()
    await any_redis.run(
        ("SADD", keys.online(any_redis.prefix, killed.name), "somebody"),
        ("SADD", keys.online(any_redis.prefix, old.name), "somebody"),
        ("DEL", keys.record(any_redis.prefix, killed.name)),
    )

    assert await live_nodes(any_redis) == [old, young]

    replies = await any_redis.run(
        ("SMEMBERS", keys.nodes(any_redis.prefix)),
        ("EXISTS", keys.online(any_redis.prefix, killed.name)),
        ("EXISTS", keys.online(any_redis.prefix, old.name)),
    )
    assert replies == [{old.name.encode(), young.name.encode()}, 0, 1]


async def test_siblings_are_the_others_of_the_group(redis: RedisClient) -> None:
    own, sibling, stranger = record(started=1), record(started=2), record("another machine")
    registries = [registry(redis, each) for each in (own, sibling, stranger)]
    for each in registries:
        await each.publish()

    assert [await each.siblings() for each in registries] == [[sibling], [own], []]


async def test_prefixes_keep_servers_of_one_redis_apart(redis_server: RedisServer) -> None:
    own = record()
    here, there = RedisClient(redis_server.options()), RedisClient(redis_server.options())
    await registry(here, own).publish()

    assert await registry(there).find(own.name) is None
    assert await live_nodes(there) == []
    assert await live_nodes(here) == [own]
    await here.close()
    await there.close()


@pytest.mark.parametrize(
    "name", ["", "short", "far too long", "with:col", "..\r\nab\r\n", "ÄÖÜäöüß!"]
)
async def test_what_is_no_name_is_not_looked_up(own_valkey: ValkeyServer, name: str) -> None:
    redis = RedisClient(own_valkey.options())
    own_valkey.kill()

    assert await registry(redis).find(name) is None


async def test_while_redis_is_away_what_was_found_before_counts(
    own_valkey: ValkeyServer, own_redis: RedisClient
) -> None:
    known, unknown, ended = record(), record(), record()
    for each in (known, ended):
        await registry(own_redis, each).publish()
    mine = registry(own_redis)
    await mine.find(known.name)
    await mine.find(ended.name)
    await registry(own_redis, ended).withdraw()
    await mine.find(ended.name)
    own_valkey.kill()

    assert await mine.find(known.name) == known
    for name in (unknown.name, ended.name):
        with pytest.raises(RedisUnavailable):
            await mine.find(name)


async def test_names_that_clients_make_up_cost_redis_nothing(
    own_valkey: ValkeyServer, own_redis: RedisClient
) -> None:
    known = record()
    await registry(own_redis, known).publish()
    mine = registry(own_redis)

    async def find(name: str) -> NodeRecord | None:
        await asyncio.sleep(0)  # some while a reading is under way
        return await mine.find(name)

    names = [new_name() for _ in range(2000)]
    found = await asyncio.gather(*map(find, names), find(known.name))

    assert found == [None] * len(names) + [known]
    commands = own_valkey.ask("INFO", "commandstats")
    assert 1 <= commands["cmdstat_smembers"]["calls"] <= 3
    await mine.close()


async def test_what_is_found_is_not_older_than_the_question(redis: RedisClient) -> None:
    mine = registry(redis)
    for _ in range(5):
        own = record()
        asked = asyncio.create_task(mine.find(own.name))
        await asyncio.sleep(0)
        await registry(redis, own).publish()
        assert await mine.find(own.name) == own
        await asked
    await mine.close()


async def test_the_end_of_a_registry_that_reads(own_valkey: ValkeyServer) -> None:
    redis = RedisClient(own_valkey.options())
    mine = registry(redis)
    own_valkey.pause()
    asked = [asyncio.create_task(mine.find(new_name())) for _ in range(3)]
    await asyncio.sleep(0.05)
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    await mine.close()
    await redis.close()


@pytest.mark.parametrize("content", ["", "{}", "no JSON", '{"name": 1}'])
async def test_a_record_that_cannot_be_read_counts_as_none(
    redis: RedisClient, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = record()
    await registry(redis, own).publish()
    await redis.run(("SET", keys.record(redis.prefix, own.name), content))

    assert await registry(redis).find(own.name) is None
    assert await live_nodes(redis) == []
    assert "a node's record in Redis can't be read" in caplog.text


@pytest.mark.parametrize("name", [b"\xff\xfe", b"short", b"with:col"])
async def test_what_is_no_name_among_the_nodes_is_removed(redis: RedisClient, name: bytes) -> None:
    own = record()
    await registry(redis, own).publish()
    await redis.run(("SADD", keys.nodes(redis.prefix), name))

    assert await live_nodes(redis) == [own]
    assert await redis.run(("SMEMBERS", keys.nodes(redis.prefix))) == [{own.name.encode()}]


@pytest.mark.parametrize("changes", [{"address": "localhost"}, {"address": "x" * 300}, {"port": 0}])
async def test_a_record_of_nowhere_counts_as_none(
    redis: RedisClient, changes: dict[str, object]
) -> None:
    nowhere = msgspec.structs.replace(record(), **changes)
    await registry(redis, nowhere).publish()

    assert await registry(redis).find(nowhere.name) is None


async def test_a_record_under_another_s_name_counts_as_none(redis: RedisClient) -> None:
    own, other = record(), record()
    for each in (own, other):
        await registry(redis, each).publish()
    await redis.run(("SET", keys.record(redis.prefix, other.name), msgspec.json.encode(own)))

    assert await registry(redis).find(other.name) is None


async def test_later_versions_may_say_more(redis: RedisClient) -> None:
    own = record()
    mine = registry(redis, own)
    await mine.publish()
    key = keys.record(redis.prefix, own.name)
    (content,) = await redis.run(("GET", key))
    await redis.run(("SET", key, content.replace(b"{", b'{"more":[1],', 1)))

    assert await registry(redis).find(own.name) == own
