"""A cluster with a Redis of its own, and a proxy between them that can be bad."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.clients import Chat, Device, Devices
from tests.e2e.server import ChatServer, new_user, wait_until
from tests.services.proxy import Proxy, Tricks
from tests.services.valkey import ValkeyServer
from tests.services.valkey import running as running_valkey

from .conversation import converse, see_the_same
from .nodes import Cluster
from .nodes import running as running_nodes

BURST = 100


class Site:
    """All nodes reach ``valkey`` through ``proxy``."""

    def __init__(self, cluster: Cluster, valkey: ValkeyServer, proxy: Proxy) -> None:
        self.cluster = cluster
        self.valkey = valkey
        self.proxy = proxy

    async def until_redis_is(self, *, there: bool) -> None:
        """Wait until every node says that Redis is there, or that it is away."""
        for node in self.cluster.nodes:
            await asyncio.to_thread(_until_redis_is, node, there)


class Friends:
    """Somebody with a device on each node, and others on each node who write to that user."""

    def __init__(self, bobs: list[Device], others: list[Device]) -> None:
        self._bobs = bobs
        self._others = others
        self._sent: list[Chat] = []

    @classmethod
    async def connect(cls, cluster: Cluster, devices: Devices) -> Friends:
        """All of them, connected to the nodes themselves."""
        user = new_user()
        bobs = [await devices.connect(node, user) for node in cluster.nodes]
        return cls(bobs, [await devices.connect(node) for node in cluster.nodes])

    async def write(self, count: int = BURST) -> None:
        """The others write at the same time; all is acknowledged when this returns."""
        self._sent += await converse(self._others, self._bobs[0].user, count)

    async def see_all(self) -> None:
        """Fail unless all that was sent arrives once, in order, and nobody had to reconnect."""
        await see_the_same(self._bobs, self._sent)
        assert all(other.undisturbed for other in self._others)


@contextmanager
def running(
    folder: Path, settings: Mapping[str, str], tricks: Tricks | None = None
) -> Iterator[Site]:
    """Three nodes on a database that ``settings`` name, with a Redis of their own."""
    with (
        running_valkey(ValkeyServer(folder / "valkey")) as valkey,
        Proxy(valkey.port, tricks=tricks) as proxy,
    ):
        reach = {**valkey.environment(), "REDIS_PORT": str(proxy.port), "REDIS_TIMEOUT": "1"}
        with running_nodes(Cluster(folder, {**settings, **reach}, nodes=3)) as cluster:
            yield Site(cluster, valkey, proxy)


def _until_redis_is(node: ChatServer, there: bool) -> None:
    wait_until(
        lambda: json.loads(node.get("/readyz")[1])["bus"] is there,
        lambda: f"Redis is {'away' if there else 'there'} for a node:\n{node.log()}",
    )
