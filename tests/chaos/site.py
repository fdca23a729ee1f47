"""What is broken here: nodes on a PostgreSQL and a Valkey of their own, behind bad networks."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from tests.cluster.nodes import Cluster
from tests.cluster.nodes import running as running_nodes
from tests.e2e.server import ChatServer, Entrance, wait_until
from tests.services.command import parley
from tests.services.postgres import Installation, PostgresServer
from tests.services.proxy import Proxy
from tests.services.valkey import ValkeyServer
from tests.services.valkey import running as running_valkey

from .evidence import Entry, Inboxes

# Seconds. Python's client stops sending when a POST of its fails, and learns of it only by a
# heartbeat; the rest is for faults to be noticed within a test.
QUICK = {
    "PING_INTERVAL": "3",
    "PING_TIMEOUT": "3",
    "DATABASE_TIMEOUT": "2",
    "DATABASE_POOL_SIZE": "2",
    "REDIS_TIMEOUT": "1",
    "INBOX_CHECK_INTERVAL": "1",
    "LIST_MAX_CHATS": "50000",
}
# For both databases.
_STORED = """
SELECT CAST(owner AS text), inbox.seq, CAST(id AS text), CAST(sender AS text), message
FROM inbox JOIN chats ON receiver = owner AND id = chat_id
ORDER BY owner, inbox.seq"""


class Place(Protocol):
    """Where a crowd gathers."""

    @property
    def entrances(self) -> Sequence[Entrance]:
        """Where people write and read."""

    @property
    def others(self) -> Sequence[Entrance]:
        """Where they have more devices."""

    def heal(self) -> None:
        """Have everything run."""

    def inboxes(self, owners: Sequence[str]) -> Inboxes:
        """What the database holds of these."""

    def audit(self) -> str:
        """What `parley audit` says; fails if it found something."""


class Gate(NamedTuple):
    """A way to a server, through a proxy."""

    proxy: Proxy
    server: Entrance

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    def token(self, user: str, **claims: Any) -> str:
        return self.server.token(user, **claims)


class Site:
    """A cluster with a balancer; everything that it rests on may be broken.

    The nodes reach ``postgres`` through ``database_line``, ``valkey`` through
    ``redis_line``; clients may reach the first node through ``gate``.
    """

    def __init__(
        self,
        cluster: Cluster,
        postgres: PostgresServer,
        valkey: ValkeyServer,
        database_line: Proxy,
        redis_line: Proxy,
        gate: Gate,
    ) -> None:
        self.cluster = cluster
        self.nodes = cluster.nodes
        self.postgres = postgres
        self.valkey = valkey
        self.database_line = database_line
        self.redis_line = redis_line
        self.gate = gate
        self._victims = itertools.cycle(self.nodes[:-1])

    def victim(self) -> ChatServer:
        """The node to which something happens next; the last one is spared."""
        return next(self._victims)

    @property
    def entrances(self) -> Sequence[Entrance]:
        return (self.cluster, self.nodes[-1])

    @property
    def others(self) -> Sequence[Entrance]:
        return (self.nodes[0],)

    def heal(self) -> None:
        """Start what is down, and wait until all nodes have everything."""
        for line in (self.database_line, self.redis_line, self.gate.proxy):
            line.resume()
            line.speed_up()
        if not self.postgres.running:
            self.postgres.start()
        if not self.valkey.running:
            self.valkey.start()
        down = [node for node in self.nodes if not node.running]
        for node in down:
            node.launch()
        for node in down:
            node.wait_until_it_answers()
        for node in self.nodes:
            self.wait_until_ready(node)

    def wait_until_ready(self, node: ChatServer) -> None:
        """Wait until a node has its store, and its bus."""
        wait_until(
            lambda: json.loads(node.get("/readyz")[1])["status"] == "ready",
            lambda: f"a node does not recover:\n{node.log()}",
        )

    def inboxes(self, owners: Sequence[str]) -> Inboxes:
        return _by_owner(owners, self.postgres.execute(_STORED))

    def audit(self) -> str:
        # Not through the proxy, which may be told to harm whoever comes next.
        direct = {"DATABASE_PORT": str(self.postgres.port)}
        return _audit({**self.cluster.settings, **direct})


class Lone:
    """One node on an SQLite file."""

    def __init__(self, server: ChatServer) -> None:
        self.server = server

    @property
    def entrances(self) -> Sequence[Entrance]:
        return (self.server,)

    @property
    def others(self) -> Sequence[Entrance]:
        return ()

    def heal(self) -> None:
        if not self.server.running:
            self.server.start()

    def inboxes(self, owners: Sequence[str]) -> Inboxes:
        with closing(sqlite3.connect(self.server.database)) as db:
            return _by_owner(owners, db.execute(_STORED))

    def audit(self) -> str:
        return _audit(self.server.settings)


@contextmanager
def running(folder: Path, installation: Installation, *, nodes: int) -> Iterator[Site]:
    """A site; everything has ended in the end."""
    with (
        installation.server() as postgres,
        running_valkey(ValkeyServer(folder / "valkey")) as valkey,
        Proxy(postgres.port) as database_line,
        Proxy(valkey.port) as redis_line,
    ):
        settings = {
            **postgres.environment(),
            **valkey.environment(),
            **QUICK,
            "DATABASE_PORT": str(database_line.port),
            "DATABASE_TLS": "disable",
            "REDIS_PORT": str(redis_line.port),
        }
        with (
            running_nodes(Cluster(folder, settings, nodes=nodes)) as cluster,
            Proxy(cluster.nodes[0].port) as line,
        ):
            gate = Gate(line, cluster)
            yield Site(cluster, postgres, valkey, database_line, redis_line, gate)


async def aside(*actions: Callable[[], object]) -> None:
    """Do what blocks, one after the other, while the crowd goes on."""
    for action in actions:
        await asyncio.to_thread(action)


def _audit(settings: Mapping[str, str]) -> str:
    done = parley(settings, "audit")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _by_owner(owners: Sequence[str], rows: Iterable[Any]) -> Inboxes:
    inboxes: dict[str, list[Entry]] = {owner: [] for owner in owners}
    for owner, *entry in rows:
        if owner in inboxes:
            inboxes[owner].append(Entry(*entry))
    return inboxes
