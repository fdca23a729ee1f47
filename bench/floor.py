"""How little a message could cost at a low rate: servers that do only a part of what Parley does.

    python -m bench.floor

Each is a process with uvloop that echoes what arrives on a TCP connection, after a step more than
the one before it.  At the same rate for all, nothing is collected, and caches are cold.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias, cast

import msgspec
import uvloop

from bench.processes import ProcessGroup
from bench.services import services
from parley.chat.ports import NewChat
from parley.model import ChatId, UserId
from parley.store.postgres_commit import Batch
from parley.store.postgres_connect import PostgresOptions, connect
from parley.store.postgres_schema import prepare
from parley.store.postgres_statements import PING
from parley.store.postgres_wire import Wire

Step: TypeAlias = Callable[[], Awaitable[object]]

STEPS: Final = {
    "echo": "nothing but an echo",
    "ask": "after PostgreSQL has answered SELECT 1, by a connection such as Parley's",
    "statement": "after the statement of a commit, with the same arguments but for the id",
    "commit": "after a commit, its arguments made for each message",
    "driver": "after a commit by way of asyncpg",
}
_CONNECTIONS: Final = 50
_TEXT: Final = "x" * 100
_SIZE: Final = 180
"""Bytes of a frame that sends a message of 100 characters."""


async def _step(name: str, options: PostgresOptions) -> Step:
    users = [UserId(str(uuid.uuid4())) for _ in range(_CONNECTIONS)]

    def batch() -> Batch:
        receiver, sender, *_ = users
        users.append(users.pop(0))
        new = NewChat(ChatId(str(uuid.uuid4())), sender, receiver, _TEXT, 1_700_000_000_000)
        return Batch([new], [], {})

    first = batch()
    statement, arguments = str(first.statement), first.arguments
    connection = await connect(options)
    if name == "driver":

        def fetch() -> Awaitable[object]:
            values: list[object] = [*batch().arguments]
            values[6] = [_TEXT]  # the driver makes the array itself
            rows: Awaitable[object] = connection.fetch(statement, *values)
            return rows

        return fetch
    wire = Wire(connection, keep=True)

    def repeat() -> Awaitable[object]:
        arguments[3] = str(uuid.uuid4())
        return wire.run(statement, arguments)

    def commit() -> Awaitable[object]:
        return wire.run(statement, batch().arguments)

    return {"ask": lambda: wire.run(PING, []), "statement": repeat, "commit": commit}[name]


class _Echo(asyncio.Protocol):
    def __init__(self, step: Step | None) -> None:
        self._step = step
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._step is None:
            self._transport.write(data)
            return
        task = asyncio.create_task(self._answer(self._step, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, step: Step, data: bytes) -> None:
        async with _ONE_AT_A_TIME:
            await step()
        self._transport.write(data)


_ONE_AT_A_TIME: Final = asyncio.Lock()


async def _serve(name: str, options: PostgresOptions) -> None:
    step = None if name == "echo" else await _step(name, options)
    server = await asyncio.get_running_loop().create_server(lambda: _Echo(step), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def _started(name: str, options: PostgresOptions) -> Iterator[tuple[int, int]]:
    """The pid and the port of a server."""
    command = [sys.executable, "-m", "bench.floor", "--serve", name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(options) + b"\n")
        process.stdin.flush()
        yield process.pid, int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()
        process.stdin.close()
        process.stdout.close()


async def _load(port: int, rate: float, seconds: float) -> int:
    """Send on a schedule; returns how many echoes came."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(_CONNECTIONS)]
    count = int(rate * seconds)
    begin = time.monotonic()
    for number in range(count):
        await asyncio.sleep(begin + number / rate - time.monotonic())
        reader, writer = connections[number % _CONNECTIONS]
        writer.write(b"x" * _SIZE)
        await reader.readexactly(_SIZE)
    for _, writer in connections:
        writer.close()
    return count


def _measure(options: PostgresOptions, arguments: argparse.Namespace) -> None:
    figures: dict[str, list[float]] = {name: [] for name in STEPS}
    for _ in range(arguments.rounds):
        for name in STEPS:
            with _started(name, options) as (pid, port):
                uvloop.run(_load(port, arguments.rate, 0.5))
                group = ProcessGroup([pid])
                before = group.cpu_time()
                count = uvloop.run(_load(port, arguments.rate, arguments.seconds))
                used = group.cpu_time().since(before)
            figures[name].append(used.total / count * 1e6)
    for name, text in STEPS.items():
        low, high = min(figures[name]), max(figures[name])
        print(f"{statistics.median(figures[name]):6.0f} us ({low:.0f}-{high:.0f})  {text}")


def main() -> None:
    """Measure, and print CPU time for each message: the median of the rounds, and their range."""
    parser = argparse.ArgumentParser(prog="python -m bench.floor", description=__doc__)
    parser.add_argument("--rate", type=float, default=300, help="messages per second (300)")
    parser.add_argument("--seconds", type=float, default=4, help="that a round measures (4)")
    parser.add_argument("--rounds", type=int, default=5, help="of each server, in turns (5)")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"))  # noqa: S108 - as in bench
    parser.add_argument("--serve", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        options = msgspec.json.decode(sys.stdin.buffer.readline(), type=PostgresOptions)
        uvloop.run(_serve(arguments.serve, options))
        return
    with tempfile.TemporaryDirectory(prefix="parley-bench-", dir=arguments.folder) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL refuses to be root, and must find its own folder
        with services(Path(folder)) as started, started.database() as options:
            asyncio.run(prepare(options))
            _measure(options, arguments)


if __name__ == "__main__":
    main()
