"""How a RedisBus starts, or says in one sentence why it can't."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trustme

from parley.bus.redis import RedisBus
from parley.errors import BusBroken, BusUnavailable
from parley.redis_options import RedisOptions
from tests.contract.buses import Node, owner, redis_ends
from tests.services.ports import free_port
from tests.services.proxy import Proxy
from tests.services.valkey import RedisServer, ValkeyCluster, ValkeyServer, running

SECRET = "correct horse"
NEEDED = ("+publish", "+subscribe", "+unsubscribe", "+ping", "+select")
NEEDED_OF_CLUSTERS = (
    *("+spublish", "+ssubscribe", "+sunsubscribe", "+ping"),
    "+cluster|slots",
)


async def refused(options: RedisOptions) -> str:
    """The reason why a bus can't be opened, ever."""
    return await _failure(options, BusBroken)


async def unavailable(options: RedisOptions) -> str:
    """The reason why a bus can't be opened now."""
    return await _failure(options, BusUnavailable)


async def _failure(options: RedisOptions, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        await RedisBus.open(options)
    reason = str(caught.value)
    assert "\n" not in reason
    assert SECRET not in reason
    return reason


async def works(options: RedisOptions) -> None:
    """Two nodes hear one another."""
    async with redis_ends(options) as ends:
        node, owners = Node(ends), [owner() for _ in range(10)]
        for each in owners:
            await node.subscriber.subscribe(each)
            await node.carries_something(each)


@pytest.fixture(scope="module")
def locked_valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A server with a password."""
    folder = tmp_path_factory.mktemp("locked-valkey")
    with running(ValkeyServer(folder, password=SECRET, timeout=2.0)) as server:
        yield server


async def test_nobody_listens() -> None:
    reason = await unavailable(RedisOptions(host="127.0.0.1", port=free_port()))
    assert "Connection refused" in reason


async def test_a_name_that_nobody_has() -> None:
    await unavailable(RedisOptions(host="redis.invalid", port=6379))


async def test_no_answer(redis_server: RedisServer) -> None:
    with Proxy(redis_server.port) as proxy:
        proxy.pause()
        reason = await unavailable(redis_server.options(port=proxy.port, timeout=0.1))
    assert "does not answer" in reason


async def test_a_cut_while_opening(redis_server: RedisServer) -> None:
    with Proxy(redis_server.port) as proxy:
        proxy.cut_within_reply()
        assert "closed the connection" in await unavailable(redis_server.options(port=proxy.port))


async def test_passwords(locked_valkey: ValkeyServer) -> None:
    await works(locked_valkey.options())
    assert "WRONGPASS" in await refused(locked_valkey.options(password="wrong"))
    assert "NOAUTH" in await refused(locked_valkey.options(password=""))
    assert "WRONGPASS" in await refused(locked_valkey.options(username="stranger"))


async def test_a_password_that_is_not_needed_does_no_harm(redis_server: RedisServer) -> None:
    options = redis_server.options()
    if not options.password:
        await works(redis_server.options(password="superfluous"))


async def test_the_permissions_that_a_user_needs(locked_valkey: ValkeyServer) -> None:
    options = locked_valkey.options(username="parley")
    channels = f"&{options.prefix}*"
    create(locked_valkey, channels, *NEEDED)
    await works(options)
    for missing in NEEDED[:-1]:
        create(locked_valkey, channels, *(each for each in NEEDED if each != missing))
        assert "NOPERM" in await refused(options)
    create(locked_valkey, "&other:*", *NEEDED)
    assert "NOPERM" in await refused(options)


async def test_the_permissions_that_a_user_of_a_cluster_needs(own_cluster: ValkeyCluster) -> None:
    options = own_cluster.options(username="parley", password=SECRET)
    channels = f"&{options.prefix}*"
    for node in own_cluster.nodes:
        create(node, channels, *NEEDED_OF_CLUSTERS)
    await works(options)
    for missing in NEEDED_OF_CLUSTERS:
        rest = [each for each in NEEDED_OF_CLUSTERS if each != missing]
        create(own_cluster.nodes[0], channels, *rest)
        assert "NOPERM" in await refused(options)


def create(server: RedisServer, *rules: str) -> None:
    """Make the user ``parley`` anew, with these permissions only."""
    server.ask("ACL", "SETUSER", "parley", "reset", "on", f">{SECRET}", *rules)


async def test_databases(redis_server: RedisServer) -> None:
    await works(redis_server.options(database=1))
    assert "out of range" in await refused(redis_server.options(database=1_000_000))


async def test_databases_have_channels_of_their_own(redis_server: RedisServer) -> None:
    options, other = redis_server.options(database=0), redis_server.options(database=1)
    async with redis_ends(options) as ends, redis_ends(other) as others:
        here, there, ann = Node(ends), Node(others), owner()
        await here.subscriber.subscribe(ann)
        await there.subscriber.subscribe(ann)
        await there.carries_something(ann)
        await here.carries_something(ann)
        there.publisher.publish(ann, 99, b"for the other database")
        await here.carries_something(ann)
        assert all(packet != b"for the other database" for _, _, packet in here.arrived)


async def test_a_cluster_has_one_database(redis_cluster: ValkeyCluster) -> None:
    assert "cluster" in await refused(redis_cluster.options(database=1))


async def test_a_cluster_is_recognised_by_any_of_its_nodes(redis_cluster: ValkeyCluster) -> None:
    for node in redis_cluster.nodes:
        await works(node.options())


async def test_a_cluster_that_is_not_complete(own_cluster: ValkeyCluster) -> None:
    own_cluster.nodes[2].kill()
    await unavailable(own_cluster.options())


async def test_braces_in_the_prefix(redis_cluster: ValkeyCluster) -> None:
    options = redis_cluster.options()
    await works(redis_cluster.options(prefix=f"{{{options.prefix}}}:"))


async def test_a_replica_is_no_place_to_publish(own_valkey: ValkeyServer) -> None:
    own_valkey.ask("REPLICAOF", "127.0.0.1", free_port())
    assert "replica" in await unavailable(own_valkey.options())
    own_valkey.ask("REPLICAOF", "NO", "ONE")
    await works(own_valkey.options())


async def test_too_many_clients(tmp_path: Path) -> None:
    with running(ValkeyServer(tmp_path, "--maxclients", "3")) as server:
        async with redis_ends(server.options()):
            await asyncio.sleep(0)
            with Proxy(server.port) as proxy:  # a third connection
                reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
                writer.write(b"PING\r\n")
                await reader.readline()
                assert "max number" in await unavailable(server.options())
                writer.close()
                await writer.wait_closed()


@asynccontextmanager
async def saying(*texts: bytes) -> AsyncIterator[RedisOptions]:
    """A server that answers with these, whatever it is asked, and with nothing else."""

    class Talk(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self._transport = transport
            self._texts = iter(texts)

        def data_received(self, data: bytes) -> None:
            self._transport.write(next(self._texts, b""))

    server = await asyncio.get_running_loop().create_server(Talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield RedisOptions(host="127.0.0.1", port=port, timeout=0.5)


@pytest.mark.parametrize(
    "text", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x16", b"+OK\r\n"]
)
async def test_something_else_listens(text: bytes) -> None:
    async with saying(text) as options:
        assert "doesn't speak Redis' protocol" in await refused(options)


async def test_a_server_that_is_too_old() -> None:
    """Its answer quotes what it was asked, the password too."""
    quoting = b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `default`, "
    async with saying(quoting + b"`%b`, \r\n" % SECRET.encode()) as options:
        text = await refused(msgspec.structs.replace(options, password=SECRET))
    assert text.endswith("refuses: ERR unknown command `HELLO`")


async def test_a_server_that_is_not_ready_yet() -> None:
    async with saying(b"-LOADING Redis is loading the dataset in memory\r\n") as options:
        assert "LOADING" in await unavailable(options)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_a_server_that_falls_silent() -> None:
    hello = b"%2\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"
    async with saying(hello, b"+OK\r\n", b":0\r\n") as options:
        assert "does not answer" in await unavailable(options)


class TestTls:
    @pytest.fixture
    def tls_port(self, redis_server: RedisServer, authority: trustme.CA) -> Iterator[int]:
        """Where the server is, behind TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        with Proxy(redis_server.port, tls=context) as proxy:
            yield proxy.port

    @pytest.fixture
    def trusting(self, authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    async def test_encrypted(
        self, redis_server: RedisServer, tls_port: int, trusting: ssl.SSLContext
    ) -> None:
        await works(redis_server.options(port=tls_port, tls=trusting))

    async def test_an_unknown_authority(self, redis_server: RedisServer, tls_port: int) -> None:
        options = redis_server.options(port=tls_port, tls=ssl.create_default_context())
        assert "CERTIFICATE_VERIFY_FAILED" in await refused(options)

    async def test_tls_with_a_server_that_has_none(
        self, redis_server: RedisServer, trusting: ssl.SSLContext
    ) -> None:
        # It takes the beginning of TLS for one of a command, and waits for the rest.
        with pytest.raises((BusBroken, BusUnavailable), match="TLS"):
            await RedisBus.open(redis_server.options(tls=trusting, timeout=0.5))

    async def test_no_tls_with_a_server_that_wants_it(
        self, redis_server: RedisServer, tls_port: int
    ) -> None:
        with pytest.raises((BusBroken, BusUnavailable)):
            await RedisBus.open(redis_server.options(port=tls_port, timeout=2.0))
