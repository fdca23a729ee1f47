"""Nodes for the tests: some in this process, some in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from parley.cluster.connection import LinkOptions
from parley.cluster.listener import Method
from parley.cluster.node import Node, NodeOptions
from parley.cluster.registry import new_name
from parley.model import UserId
from parley.redis_options import RedisOptions
from parley.socketio.peers import NoPeers, Peers

REPOSITORY = Path(__file__).parents[3]
LINK = LinkOptions(beat=0.1, connect_timeout=1.0, close_timeout=0.2)


def node_options(**changes: Any) -> NodeOptions:
    known = {"name": new_name(), "group": "this machine", "version": "1.2.3", "link": LINK}
    return NodeOptions(**{"publish_interval": 0.05, "lifetime": 1.0, **known, **changes})


@asynccontextmanager
async def node(
    redis: RedisOptions,
    sessions: Peers | None = None,
    methods: Mapping[str, Method] | None = None,
    **changes: Any,
) -> AsyncIterator[Node]:
    """A node that has started."""
    made = await Node.open(redis, node_options(**changes))
    try:
        await made.start(sessions or NoPeers(), methods or {})
        yield made
    finally:
        await made.close()


class NodeProcess:
    """A node that may be killed; ``user`` is connected to it."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self.name = name
        self._process = process

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def node_process(redis: RedisOptions, user: UserId, **changes: Any) -> Iterator[NodeProcess]:
    """A process with a node that lives until this ends, if not killed before."""
    arguments = {
        "redis": {"host": redis.host, "port": redis.port, "prefix": redis.prefix},
        "node": msgspec.to_builtins(node_options(**changes)),
        "user": user,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.cluster.nodes", json.dumps(arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
    )
    try:
        assert process.stdout is not None
        yield NodeProcess(process, process.stdout.readline().decode().strip())
    finally:
        process.kill()
        process.communicate()


async def _main(arguments: dict[str, Any]) -> None:
    async def hold(body: bytes) -> bytes:
        await asyncio.Event().wait()
        return body

    async def echo(body: bytes) -> bytes:
        return body

    options = msgspec.convert(arguments["node"], NodeOptions)
    made = await Node.open(RedisOptions(**arguments["redis"]), options)
    made.presence.joined(arguments["user"])
    await made.start(NoPeers(), {"echo": echo, "hold": hold})
    sys.stdout.write(f"{options.name}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
