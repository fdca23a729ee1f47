from __future__ import annotations

import asyncio
import gc
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from parley.cluster.redis_client import RedisClient, RedisRefused, RedisUnavailable
from tests.services.ports import free_port
from tests.services.valkey import (
    RedisServer,
    ValkeyCluster,
    ValkeyServer,
    running,
    wait_until,
)
from tests.unit.cluster.links import relayed


async def test_replies_come_in_the_order_of_the_commands(any_redis: RedisClient) -> None:
    keys = [f"{any_redis.prefix}{number}" for number in range(20)]  # on all nodes of a cluster

    await any_redis.run(*(("SET", key, number) for number, key in enumerate(keys)))

    replies = await any_redis.run(*(("GET", key) for key in keys))
    assert replies == [b"%d" % number for number in range(20)]
    await any_redis.run(*(("DEL", key) for key in keys))


async def test_many_at_a_time(any_redis: RedisClient) -> None:
    key = f"{any_redis.prefix}counter"

    replies = await asyncio.gather(*(any_redis.run(("INCR", key)) for _ in range(200)))

    assert sorted(reply for (reply,) in replies) == list(range(1, 201))
    await any_redis.run(("DEL", key))


async def test_many_at_a_time_take_few_connections(
    own_valkey: ValkeyServer, own_redis: RedisClient
) -> None:
    await asyncio.gather(*(own_redis.run(("INCR", "counter")) for _ in range(200)))

    assert own_valkey.ask("INFO", "clients")["connected_clients"] <= 5  # with the one that asks


async def test_a_node_of_a_cluster_that_goes_and_comes_back(own_cluster: ValkeyCluster) -> None:
    redis = RedisClient(own_cluster.options())
    everywhere = [("SET", f"key-{number}", number) for number in range(30)]
    await redis.run(*everywhere)
    own_cluster.nodes[1].kill()
    with pytest.raises(RedisUnavailable):
        await redis.run(*everywhere)
    gc.collect()  # connections that were left open would be complained about

    own_cluster.nodes[1].start()
    own_cluster.wait_until_complete()

    assert await redis.run(*everywhere) == [True] * 30
    await redis.close()


async def test_a_command_that_fails(redis: RedisClient) -> None:
    key = f"{redis.prefix}text"
    await redis.run(("SET", key, "no number"))

    with pytest.raises(RedisUnavailable, match="not an integer"):
        await redis.run(("INCR", key))

    assert await redis.run(("GET", key), ("DEL", key)) == [b"no number", 1]


async def test_a_server_that_goes_and_comes_back(
    own_valkey: ValkeyServer, own_redis: RedisClient
) -> None:
    await own_redis.run(("SET", "key", 1))
    own_valkey.kill()
    with pytest.raises(RedisUnavailable, match=r"^Error "):
        await own_redis.run(("GET", "key"))

    own_valkey.start()

    assert await own_redis.run(("GET", "key")) == [None]


async def test_a_restart_that_nobody_noticed(
    own_valkey: ValkeyServer, own_redis: RedisClient
) -> None:
    await own_redis.run(("SET", "key", 1))
    own_valkey.kill()
    own_valkey.start()

    assert await own_redis.run(("GET", "key")) == [None]


async def test_a_server_that_hangs(own_valkey: ValkeyServer) -> None:
    redis = RedisClient(own_valkey.options(timeout=0.2))
    await redis.run(("SET", "key", 1))
    own_valkey.pause()

    # More than are under way at a time: those that wait for their turn give up, too.
    outcomes = await asyncio.gather(
        *(redis.run(("GET", "key")) for _ in range(20)), return_exceptions=True
    )
    own_valkey.resume()

    assert {str(outcome) for outcome in outcomes} == {"no answer in 0.2 seconds"}
    assert await redis.run(("GET", "key")) == [b"1"]
    await redis.close()


async def test_a_request_that_is_cancelled_leaves_the_next_one_its_own_reply(
    own_valkey: ValkeyServer, own_redis: RedisClient
) -> None:
    await own_redis.run(("SET", "one", 1), ("SET", "two", 2))
    own_valkey.pause()
    request = asyncio.create_task(own_redis.run(("GET", "one")))
    await asyncio.sleep(0.05)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    own_valkey.resume()

    assert await own_redis.run(("GET", "two")) == [b"2"]


async def test_a_wrong_password(own_valkey: ValkeyServer) -> None:
    own_valkey.ask("CONFIG", "SET", "requirepass", "the right one")
    for password, works in (("a wrong one", False), ("the right one", True)):
        redis = RedisClient(own_valkey.options(password=password))
        if works:
            assert await redis.run(("GET", "key")) == [None]
        else:
            with pytest.raises(RedisRefused, match="invalid username-password pair"):
                await redis.run(("GET", "key"))
        await redis.close()


async def test_a_needless_password(own_valkey: ValkeyServer) -> None:
    redis = RedisClient(own_valkey.options(password="for nothing"))
    assert await redis.run(("GET", "key")) == [None]
    await redis.close()


async def test_a_user_a_database_and_a_prefix(own_valkey: ValkeyServer) -> None:
    own_valkey.ask("ACL", "SETUSER", "parley", "on", ">secret", "~parley:*", "+@all")
    options = own_valkey.options(username="parley", password="secret", database=3, prefix="parley:")
    redis = RedisClient(options)

    await redis.run(("SET", f"{redis.prefix}key", "in the third"))

    await redis.close()
    assert own_valkey.ask("GET", "parley:key") is None
    other = RedisClient(replace(options, username="", password=""))
    assert await other.run(("GET", "parley:key")) == [b"in the third"]
    await other.close()


@pytest.mark.parametrize("others", [0, 2])
async def test_a_right_that_is_missing_is_named(own_valkey: ValkeyServer, others: int) -> None:
    own_valkey.ask("ACL", "SETUSER", "parley", "on", ">secret", "~*", "+select", "+get")
    redis = RedisClient(own_valkey.options(username="parley", password="secret"))
    with pytest.raises(RedisRefused) as refused:
        await redis.run(*[("GET", "key")] * others, ("SET", "key", "hush"))
    assert str(refused.value) == "User parley has no permissions to run the 'set' command"
    await redis.close()


async def test_a_command_that_the_server_does_not_know(redis_server: RedisServer) -> None:
    redis = RedisClient(redis_server.options())
    with pytest.raises(RedisUnavailable) as refused:
        await redis.run(("GET", "key"), ("NEWER", "key", "hush"))
    assert str(refused.value) == "unknown command 'NEWER'"
    await redis.close()


async def test_nobody_listens_and_a_name_that_nobody_knows(redis_server: RedisServer) -> None:
    for changes in ({"port": free_port()}, {"host": "no-such-host.invalid"}):
        redis = RedisClient(redis_server.options(**changes))
        with pytest.raises(RedisUnavailable, match=r"^Error "):
            await redis.run(("PING",))
        await redis.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """For 127.0.0.1, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=parley".split()
    alternative = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*make, *alternative, "-keyout", key, "-out", cert], check=True, capture_output=True
    )
    return cert, key


@pytest.fixture
def contexts(certificate: tuple[Path, Path]) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a client needs, and what its server needs."""
    cert, key = certificate
    client = ssl.create_default_context(cafile=cert)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return client, server


async def test_tls(
    own_valkey: ValkeyServer, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    ours, theirs = contexts
    async with relayed(own_valkey.port, theirs) as relay:
        redis = RedisClient(own_valkey.options(port=relay.port, tls=ours))
        assert await redis.run(("SET", "key", 1), ("GET", "key")) == [True, b"1"]
        await redis.close()

        suspicious = RedisClient(
            own_valkey.options(port=relay.port, tls=ssl.create_default_context())
        )
        with pytest.raises(RedisUnavailable, match="certificate verify failed"):
            await suspicious.run(("GET", "key"))
        await suspicious.close()


async def test_tls_to_the_nodes_of_a_cluster(
    tmp_path: Path, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    ours, theirs = contexts
    alone = ValkeyServer(
        tmp_path / "node", "--cluster-enabled", "yes", "--cluster-port", str(free_port())
    )
    with running(alone):
        async with relayed(alone.port, theirs) as relay:
            alone.ask("CONFIG", "SET", "cluster-announce-ip", "127.0.0.1")
            alone.ask("CONFIG", "SET", "cluster-announce-port", relay.port)
            alone.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            wait_until(lambda: b"cluster_state:ok" in alone.ask("CLUSTER", "INFO"), alone.log)
            redis = RedisClient(alone.options(port=relay.port, tls=ours))

            assert await redis.run(("SET", "key", 1), ("GET", "key")) == [True, b"1"]

            await redis.close()
