"""Measures every path."""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from tests.performance.counting import Counter
from tests.performance.figures import Figures, Report
from tests.performance.nodes import Node, Servers, embedded, shared, users
from tests.performance.paths import Connecting, FromRedis, Path, Receiving, Sending, Storing
from tests.performance.reference import reference_seconds

COUNTED_ROUNDS: Final = 5
TIMED_ROUNDS: Final = 60
IDLE: Final = 256
"""Connections that memory is measured with."""


async def measure(servers: Servers) -> Report:
    """Measure everything.

    What else happens in a round makes it cost more.  So the least of several
    rounds counts; and of CPU time, which may come out too low as well, the
    lower decile.
    """
    async with _paths(servers) as paths:
        cpu = await _cpu(paths)
    # Afterwards, because it slows down whatever thread it counts in.
    with Counter() as counter:
        async with _paths(servers) as paths:
            figures = {name: await _count(counter, path, cpu[name]) for name, path in paths.items()}
    async with embedded(servers) as node:
        memory = {"idle": await _memory(node)}
    async with shared(servers) as node:
        memory["idle, PostgreSQL and Redis"] = await _memory(node)
    return Report(figures, memory, f"{sys.version_info.major}.{sys.version_info.minor}")


@asynccontextmanager
async def _paths(servers: Servers) -> AsyncIterator[Mapping[str, Path]]:
    async with (
        embedded(servers) as alone,
        embedded(servers, "told.db") as telling,
        shared(servers) as node,
        FromRedis.open(node, servers.redis.port) as from_redis,
    ):
        yield {
            "send": await Sending.open(alone),
            "send, acknowledged": await Sending.open(alone, ack=True),
            "send to 10 devices": await Sending.open(alone, devices=10),
            "send, PostgreSQL and Redis": await Sending.open(node),
            "message from another node": from_redis,
            "receive": await Receiving.open(alone),
            "receive, sender told": await Receiving.open(telling, told=True),
            "receive, PostgreSQL and Redis": await Receiving.open(node),
            "store in SQLite": Storing(alone),
            "store in PostgreSQL": Storing(node),
            "connect": Connecting(alone),
            "connect, PostgreSQL and Redis": Connecting(node),
        }


async def _cpu(paths: Mapping[str, Path]) -> dict[str, float]:
    for path in paths.values():
        await _cpu_of_a_round(path)
    gc.collect()
    gc.freeze()  # as a server does
    # In turns, so that a bad moment of the machine is one round of each.
    rounds = [
        {name: await _cpu_of_a_round(path) for name, path in paths.items()}
        for _ in range(TIMED_ROUNDS)
    ]
    gc.unfreeze()
    return {
        name: round(sorted(each[name] for each in rounds)[TIMED_ROUNDS // 10], 2) for name in paths
    }


async def _cpu_of_a_round(path: Path) -> float:
    await path.prepare()
    step = reference_seconds()
    began = time.process_time()
    await path.run()
    return (time.process_time() - began) / step / path.size


async def _count(counter: Counter, path: Path, cpu: float) -> Figures:
    rounds = [await _count_a_round(counter, path, cpu) for _ in range(1 + COUNTED_ROUNDS)]
    del rounds[0]  # something may have been done for the first time
    return Figures(
        instructions=min(each.instructions for each in rounds),
        calls=min(each.calls for each in rounds),
        cpu=cpu,
        tasks=min(each.tasks for each in rounds),
        writes=min(each.writes for each in rounds),
    )


async def _count_a_round(counter: Counter, path: Path, cpu: float) -> Figures:
    await path.prepare()
    counter.start()
    writes = await path.run()
    counter.stop()
    return Figures(
        instructions=round(counter.instructions / path.size, 1),
        calls=round(counter.calls / path.size, 1),
        cpu=cpu,
        tasks=round(counter.tasks / path.size, 2),
        writes=writes,
    )


async def _memory(node: Node) -> int:
    """Bytes for each connection; without the event loop's part and the kernel's."""
    everyone = users()
    await node.connected(next(everyone))  # what the first one needs is there then
    clients = [node.client(next(everyone)) for _ in range(IDLE)]
    gc.collect()
    tracemalloc.start()
    for client in clients:
        await client.connect()
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return round(size / len(clients))
