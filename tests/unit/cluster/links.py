"""Both ends of links, and what may come between them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from parley.cluster import link, wire
from parley.cluster.connection import LinkOptions
from parley.cluster.link import Link
from parley.cluster.listener import Listener, Method
from parley.cluster.wire import Beat, FrameReader, Message

KEY = b"k" * 32
PATIENT = LinkOptions()
HASTY = LinkOptions(beat=0.05, missed_beats=3, connect_timeout=0.3, close_timeout=0.2)


class Refused(Exception):
    """What methods of these tests may raise for their callers."""


@asynccontextmanager
async def listening(
    methods: Mapping[str, Method], options: LinkOptions = PATIENT
) -> AsyncIterator[tuple[Listener, int]]:
    """A listener and its port."""
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    listener = Listener(KEY, methods, (Refused,), options)
    await listener.start(sock)
    try:
        yield listener, port
    finally:
        await listener.close()
        sock.close()


@asynccontextmanager
async def linked(
    port: int, options: LinkOptions = PATIENT, key: bytes = KEY
) -> AsyncIterator[Link]:
    """A link to the listener there."""
    made = await link.connect("127.0.0.1", port, key, (Refused,), options)
    try:
        yield made
    finally:
        await made.close()


class Stream:
    """A connection by hand, in either role."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read(self, size: int) -> bytes:
        return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """What still arrives until the other side closes."""
        with contextlib.suppress(ConnectionResetError):
            return await self.reader.read(-1)
        return b""

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, message: Message) -> None:
        self.write(bytes(wire.encode(message, 2**30)))

    async def message(self) -> Message:
        """The next message but for beats."""
        while True:
            length = await self.read(4)
            (message,) = FrameReader(2**30).feed(
                length + await self.read(int.from_bytes(length, "big"))
            )
            if not isinstance(message, Beat):
                return message

    async def prove_as_caller(self) -> None:
        """Do as :func:`link.connect` does."""
        greeting = await self.read(wire.GREETING_SIZE)
        own = bytes(wire.NONCE_SIZE)
        nonces = greeting[len(wire.MAGIC) :] + own
        self.write(own + wire.proof(KEY, wire.CALLER, nonces))
        assert await self.read(wire.PROOF_SIZE) == wire.proof(KEY, wire.NODE, nonces)

    async def prove_as_node(self) -> None:
        """Do as a :class:`Listener` does."""
        own = bytes(wire.NONCE_SIZE)
        self.write(wire.MAGIC + own)
        nonces = own + await self.read(wire.NONCE_SIZE)
        assert await self.read(wire.PROOF_SIZE) == wire.proof(KEY, wire.CALLER, nonces)
        self.write(wire.proof(KEY, wire.NODE, nonces))


@asynccontextmanager
async def by_hand(port: int) -> AsyncIterator[Stream]:
    """A connection to a listener."""
    stream = Stream(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield stream
    finally:
        stream.writer.close()
        with contextlib.suppress(OSError):
            await stream.writer.wait_closed()


@asynccontextmanager
async def pretending(
    serve: Callable[[Stream], Awaitable[None]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """The port of a server that is no listener; each connection ends when ``serve`` returns."""
    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        with contextlib.suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError):
            await serve(Stream(reader, writer))
        writer.transport.abort()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving)  # what ``serve`` asserts
        await server.wait_closed()


class Relay:
    """Stands between a caller and a server; may cut the connection, or let it hang."""

    def __init__(self) -> None:
        self.port = 0
        self._streams: list[Stream] = []
        self._flowing = asyncio.Event()
        self._flowing.set()

    def hang(self) -> None:
        """Pass nothing on any more, and say nothing."""
        self._flowing.clear()

    def cut(self) -> None:
        """Reset both connections."""
        for stream in self._streams:
            stream.writer.transport.abort()

    async def serve(self, caller: Stream, target: int) -> None:
        async with by_hand(target) as node:
            self._streams += [caller, node]
            pumps = (self._pump(caller, node), self._pump(node, caller))
            await asyncio.gather(*pumps)

    async def _pump(self, source: Stream, sink: Stream) -> None:
        while data := await source.reader.read(65536):
            await self._flowing.wait()
            sink.write(data)
        sink.writer.transport.abort()


@asynccontextmanager
async def relayed(target: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """A relay to whoever listens on port ``target``; with ``tls``, only callers encrypt."""
    relay = Relay()
    async with pretending(lambda caller: relay.serve(caller, target), tls) as relay.port:
        yield relay
