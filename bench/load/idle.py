"""What connections cost while nothing happens on them."""

from __future__ import annotations

import asyncio
import resource
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from .faults import Faults
from .holder import Holding, Order
from .options import IdleOptions
from .report import IdleReport, growth
from .usage import Window, count_ended, memory

_ROOT: Final = Path(__file__).parents[2]
_MOST: Final = 15_000
"""Connections of one process: an address has some 28,000 ports, and others use them, too."""
_SPARE: Final = 100
"""File descriptors that a process needs for other things."""


class HolderError(Exception):
    """A process that should hold connections has ended; the text says so."""


async def run(options: IdleOptions, longest: int) -> IdleReport:
    """One run, by processes that end after ``longest`` seconds.  Raises HolderError."""
    groups, faults = options.site.groups, Faults()
    async with _holders(_orders(options, longest)) as holders:
        before = memory(groups)
        opening = Window(groups)
        opened = await asyncio.gather(*(holder.open() for holder in holders))
        opening.close()
        await asyncio.sleep(options.settle)
        idling = Window(groups)
        await asyncio.sleep(options.seconds)
        idling.close()
        after = memory(groups)
        count_ended(groups, faults)
        held = await asyncio.gather(*(holder.end() for holder in holders))
    connections = sum(holding.connections for holding in opened)
    problems = Counter[str](faults.most_common())
    for holding in held:
        problems.update(holding.problems)
    return IdleReport(
        connections=connections,
        errors=faults.total + sum(holding.errors for holding in held),
        problems=dict(problems),
        usage=opening.usage(connections),
        memory_bytes=after,
        seconds=round(opening.seconds, 3),
        connects_per_s=round(connections / opening.seconds, 1),
        memory_before_bytes=before,
        memory_per_connection_bytes=growth(before, after, connections),
        idle_cpu_percent=idling.cpu_percent(),
    )


def _orders(options: IdleOptions, longest: int) -> list[Order]:
    """Equal shares, each for a process with an address of its own."""
    site = options.site
    most = min(_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE)
    count = -(-options.connections // most)
    return [
        Order(
            urls=site.urls,
            secret=site.secret,
            seed=f"{site.seed}/{number}",
            connections=(options.connections + number) // count,
            connecting=max(1, site.connecting // count),
            source=f"127.0.0.{2 + number}",
            longest=longest,
        )
        for number in range(count)
    ]


class _Holder:
    """A process that holds connections, as seen from here."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def prepare(self, order: Order) -> None:
        """Returns when it can begin at once."""
        self._write(msgspec.json.encode(order) + b"\n")
        await self._read()

    async def open(self) -> Holding:
        """Have it open its connections, as many as can be."""
        self._write(b"\n")
        return msgspec.json.decode(await self._read(), type=Holding)

    async def end(self) -> Holding:
        """Have it end; what has happened until then."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return msgspec.json.decode(await self._read(), type=Holding)

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line)

    async def _read(self) -> bytes:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise HolderError("a process that should hold connections has ended")
        return line


@asynccontextmanager
async def _holders(orders: Sequence[Order]) -> AsyncIterator[list[_Holder]]:
    """A process for each order, which can begin at once; none of them is left in the end."""
    processes = []
    try:
        for _ in orders:
            command = (sys.executable, "-m", f"{__package__}.holder")
            processes.append(
                await asyncio.create_subprocess_exec(*command, cwd=_ROOT, stdin=PIPE, stdout=PIPE)
            )
        holders = [_Holder(process) for process in processes]
        await asyncio.gather(*map(_Holder.prepare, holders, orders))
        yield holders
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()
