"""A load balancer without sticky sessions: it never asks the same server twice in a row."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

_LOOK = 0.1
"""Seconds between two looks whether a client has left while its request is being answered."""
_HEAD_END = b"\r\n\r\n"
_BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"
_CHUNK = 65_536


class Balancer:
    """Sends each HTTP request, and each WebSocket, to the next of several servers in turn.

    Also those that come on one connection.  Each takes a new connection to the
    server, so that its workers take turns, too.  A server that refuses
    connections is passed over.  It runs in a thread of its own.
    """

    def __init__(self, ports: Sequence[int]) -> None:
        """``ports``: where the servers listen, on 127.0.0.1."""
        self.port: int
        """Where it listens itself, once it has started; the same after a restart."""
        self.requests: Counter[int] = Counter()
        """How many requests each server has got, by its port."""
        self.statuses: Counter[int] = Counter()
        """How many answers of each HTTP status the clients have got."""
        self._ports = list(ports)
        self._turn = 0
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread: threading.Thread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to accept connections."""
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        self._thread.start()
        started.wait()

    def stop(self) -> None:
        """Close all connections."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def __enter__(self) -> Balancer:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # -- within, in the thread

    async def _serve(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        connections: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            task.add_done_callback(connections.discard)
            await self._serve_client(Connection(reader, writer))

        listener = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=1000)
        self.port = listener.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        listener.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve_client(self, client: Connection) -> None:
        try:
            while (request := await client.read_head()) is not None:
                body = await client.reader.readexactly(request.length or 0)
                answering = asyncio.ensure_future(self._answer(client, request, body))
                try:
                    while not answering.done() and not client.reader.at_eof():
                        await asyncio.wait((answering,), timeout=_LOOK)
                finally:
                    answering.cancel()  # the server has to know that nobody waits any more
                if not await answering:
                    break
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            client.writer.close()

    async def _answer(self, client: Connection, request: Head, body: bytes) -> bool:
        """Have a request answered; False if its connection can take no other."""
        server = None
        try:
            server = await self._connect()
            if not request.upgrade:
                request = request.with_field(b"connection", b"close")
            server.writer.write(request.encoded() + body)
            answer = await server.read_head()
            if answer is None:
                raise EOFError
            if answer.upgrade:
                self.statuses[answer.status] += 1
                client.writer.write(answer.encoded())
                await _relay(client, server)
                return False
            content = await server.reader.readexactly(answer.length or 0)
            answer = answer.with_field(b"connection", b"keep-alive")
        except (OSError, EOFError):
            self.statuses[502] += 1
            client.writer.write(_BAD_GATEWAY)
            return True
        finally:
            if server is not None:
                server.writer.close()
        self.statuses[answer.status] += 1
        client.writer.write(answer.encoded() + content)
        await client.writer.drain()
        return True

    async def _connect(self) -> Connection:
        """A connection to the server whose turn it is, or to the next one that lives."""
        first = self._turn
        self._turn = (first + 1) % len(self._ports)
        for port in self._ports[first:] + self._ports[:first]:
            try:
                connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
            except OSError:
                continue
            self.requests[port] += 1
            return connection
        raise ConnectionRefusedError


class Connection(NamedTuple):
    """One end of a TCP connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read_head(self) -> Head | None:
        """The next request's or answer's head; None if the other side has closed.

        Raises EOFError if it closed in the midst of one.
        """
        try:
            head = await self.reader.readuntil(_HEAD_END)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return None
        first, *lines = head.removesuffix(_HEAD_END).split(b"\r\n")
        pairs = [line.split(b":", 1) for line in lines]
        return Head(first, [(name.strip().lower(), value.strip()) for name, value in pairs])


class Head(NamedTuple):
    """The first line of an HTTP request or answer, and its header fields by lower-case names."""

    first: bytes
    fields: list[tuple[bytes, bytes]]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first.split()[1])

    @property
    def upgrade(self) -> bool:
        """True if it is about a WebSocket."""
        return any(name == b"upgrade" for name, _ in self.fields)

    @property
    def length(self) -> int | None:
        """Bytes of the body; None if it has none.  Chunks don't occur in these tests."""
        assert not any(name == b"transfer-encoding" for name, _ in self.fields), self
        return next((int(value) for name, value in self.fields if name == b"content-length"), None)

    def with_field(self, name: bytes, value: bytes) -> Head:
        """The same with another value of one field."""
        others = [field for field in self.fields if field[0] != name]
        return Head(self.first, [*others, (name, value)])

    def encoded(self) -> bytes:
        """As it is sent."""
        lines = [name + b": " + value for name, value in self.fields]
        return b"\r\n".join([self.first, *lines]) + _HEAD_END


async def _relay(client: Connection, server: Connection) -> None:
    """Pass on whatever comes from either side until one of them closes."""
    directions = [
        asyncio.ensure_future(_pump(client.reader, server.writer)),
        asyncio.ensure_future(_pump(server.reader, client.writer)),
    ]
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
