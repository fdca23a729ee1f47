"""A bad network: a proxy that is slow, stops, cuts connections, or lets them go silent, and that
plays tricks on pub/sub messages."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

from tests.services import resp
from tests.services.streams import abort

_CHUNK = 65_536
_LAST_WORDS = 1.0
"""Seconds that an end has to take what it is still sent when the other one has gone."""


class Tricks(NamedTuple):
    """How likely each of them is, for each message of Redis pub/sub.  The rest passes unharmed."""

    seed: int
    drop: float = 0.1
    double: float = 0.1
    delay: float = 0.1
    """It comes after the next one that isn't delayed."""


class Proxy:
    """Forwards connections to a port of 127.0.0.1.  It runs in a thread of its own.

    Its methods return after they have taken effect.
    """

    def __init__(
        self, target: int, *, tls: ssl.SSLContext | None = None, tricks: Tricks | None = None
    ) -> None:
        """With ``tls``, clients must speak TLS to it; the target is spoken to without."""
        self.port: int
        """Where it listens, once it has started."""
        self.played = 0
        """Tricks that were played."""
        self._target = target
        self._tls = tls
        self._tricks = tricks
        self._writers: set[asyncio.StreamWriter] = set()
        self._lines: set[_Line] = set()
        self._cut_request = self._cut_reply = False
        self._size, self._delay = _CHUNK, 0.0
        self._players = 0
        self._loop: asyncio.AbstractEventLoop
        self._flowing: asyncio.Event
        self._stopping: asyncio.Event
        self._thread: threading.Thread

    def start(self) -> None:
        """Begin to accept connections."""
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        self._thread.start()
        started.wait()

    def stop(self) -> None:
        """Cut all connections and end."""
        self._do(self._stopping.set)
        self._thread.join()

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def pause(self) -> None:
        """Accept connections and bytes, and forward nothing."""
        self._do(self._flowing.clear)

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        self._do(self._flowing.set)

    def cut(self) -> None:
        """Cut all connections that there are; new ones are welcome."""
        self._do(self._abort_all)

    def cut_within_request(self) -> None:
        """Forward half of what a client says next, and cut that connection."""
        self._do(lambda: setattr(self, "_cut_request", True))

    def cut_within_reply(self) -> None:
        """Forward half of what the target says next, and cut that connection."""
        self._do(lambda: setattr(self, "_cut_reply", True))

    def forget(self) -> None:
        """Leave all connections that there are half open: neither end hears of the other again.

        New ones are welcome.
        """
        self._do(self._silence_all)

    def slow_down(self, size: int, delay: float) -> None:
        """Forward at most ``size`` bytes at once, in each direction, and each ``delay`` seconds."""
        self._do(lambda: self._pace(size, delay))

    def speed_up(self) -> None:
        """Undo :meth:`slow_down`."""
        self._do(lambda: self._pace(_CHUNK, 0.0))

    def play(self, tricks: Tricks | None) -> None:
        """Play other tricks, or none, on the connections that come from now on."""
        self._do(lambda: setattr(self, "_tricks", tricks))

    # -- in the thread

    def _do(self, action: Callable[[], object]) -> None:
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(act)
        done.wait()

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._flowing, self._stopping = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        connections: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._connect(reader, writer))
            connections.add(task)
            task.add_done_callback(connections.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopping.wait()
        server.close()
        self._abort_all()
        self._flowing.set()
        while connections:  # those too whose TLS handshake was still under way
            await asyncio.gather(*connections, return_exceptions=True)
            await asyncio.sleep(0)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        ends = [writer]
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(back)
            ends.append(back)
            await self._forward(reader, writer, there, back)
        except OSError:
            pass  # nobody is there: the client is told by a close
        finally:
            self._writers.difference_update(ends)
            for end in ends:
                end.close()
            try:
                for end in ends:
                    with suppress(OSError, TimeoutError):
                        await asyncio.wait_for(end.wait_closed(), _LAST_WORDS)
            finally:
                for end in ends:
                    abort(end)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:
        """Until either side has ended."""
        play, line = self._player(), _Line()
        pumps = [
            asyncio.ensure_future(self._pump(reader, back, line, self._halve_request)),
            asyncio.ensure_future(
                self._pump(there, writer, line, lambda data: self._halve_reply(play(data)))
            ),
        ]
        self._lines.add(line)
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._lines.discard(line)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        line: _Line,
        change: Callable[[bytes], Iterable[bytes | None]],
    ) -> None:
        with suppress(OSError):
            while data := await source.read(self._size):
                await self._flowing.wait()
                if line.silent:
                    break
                for part in change(data):
                    if part is None:
                        return
                    target.write(part)
                await target.drain()
                if self._delay:
                    await asyncio.sleep(self._delay)
        if line.silent:
            await self._stopping.wait()

    def _silence_all(self) -> None:
        for line in self._lines:
            line.silent = True

    def _pace(self, size: int, delay: float) -> None:
        self._size, self._delay = size, delay

    def _halve_request(self, data: bytes) -> list[bytes | None]:
        cut, self._cut_request = self._cut_request, False
        return _halves(data) if cut else [data]

    def _halve_reply(self, data: bytes) -> list[bytes | None]:
        if not self._cut_reply or not data:
            return [data]
        self._cut_reply = False
        return _halves(data)

    def _player(self) -> Callable[[bytes], bytes]:
        """What changes the replies of one connection."""
        if self._tricks is None:
            return lambda data: data
        self._players += 1
        player = _Player(self._tricks, self._players)

        def play(data: bytes) -> bytes:
            before = player.played
            changed = player.play(data)
            self.played += player.played - before
            return changed

        return play

    def _abort_all(self) -> None:
        for writer in self._writers:
            abort(writer)


class _Line:
    """One connection through the proxy."""

    def __init__(self) -> None:
        self.silent = False


def _halves(data: bytes) -> list[bytes | None]:
    """Half of it, and the end."""
    return [data[: len(data) // 2], None]


class _Player:
    """Plays tricks on the messages among the replies of one connection."""

    def __init__(self, tricks: Tricks, number: int) -> None:
        self.played = 0
        self._tricks = tricks
        self._random = random.Random(f"{tricks.seed}-{number}")  # noqa: S311 - repeatable
        self._rest = b""
        self._delayed: list[bytes] = []

    def play(self, data: bytes) -> bytes:
        """What the client gets for ``data``, some of it later."""
        replies, self._rest = resp.split(self._rest + data)
        passed: list[bytes] = []
        for reply in replies:
            passed += self._trick(reply) if resp.is_message(reply) else [reply]
        return b"".join(passed)

    def _trick(self, message: bytes) -> list[bytes]:
        tricks, chance = self._tricks, self._random.random()
        self.played += chance < tricks.drop + tricks.double + tricks.delay
        if chance < tricks.drop:
            return []
        if chance < tricks.drop + tricks.double:
            return [message, message]
        if chance < tricks.drop + tricks.double + tricks.delay:
            self._delayed.append(message)
            return []
        delayed, self._delayed = self._delayed, []
        return [message, *delayed]
