"""A real node behind a real socket, in a thread of this process so that its tables can be seen."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from parley.app import Parley
from parley.backends import Place, open_backends
from parley.clock import SystemClock
from parley.gateway import NAMESPACE
from parley.serving import _Server, _uvicorn_config, loop_factory
from parley.settings_loading import load_settings
from parley.tokens import mint_token

from .watching import no_errors

T = TypeVar("T")

PATIENCE: Final = 20.0
"""Seconds after which what is waited for won't come any more."""
SECRET: Final = "a-secret-of-these-tests-that-is-long-enough"

_INTERNAL: Final = re.compile(
    r"Traceback|\bFile \"|\.py\b|line \d+|msgspec|asyncpg|sqlite|starlette|uvloop|hiredis"
    r"|codec can't|recursion|<class|object at 0x|KeyError|ValueError|TypeError|AttributeError"
)


_ECHO: Final = re.compile(r'^4[0-6]/[^,]*,|"event":"(?:[^"\\]|\\.)*"|.*"createdAt":.*', re.DOTALL)
"""What a client gets of what clients said: names, and chats."""


def check_answer(text: str) -> None:
    """Fail if what a client gets tells of the server's inside."""
    found = _INTERNAL.search(_ECHO.sub("", text))
    assert found is None, f"{found[0]!r} is in an answer: {text[:1_000]}"


class LiveNode:
    """One node, on an SQLite file.  Made by :func:`live_node`."""

    def __init__(self, database: Path) -> None:
        self._settings = load_settings(
            {
                "JWT_SECRET_KEY": SECRET,
                "DATABASE_TYPE": "sqlite",
                "DATABASE_DB": str(database),
                "PING_INTERVAL": "3600",
            },
            dotenv=None,
        )
        self._sock = socket.socket()
        self._sock.bind(("127.0.0.1", 0))
        self.port: int = self._sock.getsockname()[1]
        self._loop: asyncio.AbstractEventLoop
        self._parley: Parley
        self._server: _Server
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._idle: dict[str, int] = {}
        self._collector = gc.get_threshold()

    def start(self) -> None:
        """Return when it serves."""
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        self._idle = self.tables()
        assert set(self._idle.values()) == {0}, self._idle

    def stop(self) -> None:
        """Have it stop as it does at SIGTERM, and wait for that."""
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        gc.unfreeze()  # a server has its process to itself, and sets this as it likes
        gc.set_threshold(*self._collector)

    def token(self, user: str = "") -> str:
        """For somebody whom nobody knows, if not for ``user``."""
        return mint_token(SECRET, uuid.UUID(user) if user else uuid.uuid4(), 3_600)

    def events(self) -> set[str]:
        """The names of those that it knows."""
        return set(self._parley.server.namespace(NAMESPACE)._handlers)

    def tables(self) -> dict[str, int]:
        """How much it keeps of its clients, everywhere."""
        return self.within(self._count)

    def within(self, look: Callable[[], T]) -> T:
        """What ``look`` finds in the thread of the event loop, between two of its callbacks."""

        async def run() -> T:
            return look()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE)

    def wait_until_idle(self, connections: int = 0) -> None:
        """Wait until nothing is left of anybody, but for so many clients that have joined."""
        deadline = time.monotonic() + PATIENCE
        while (found := self._beyond(connections)) and time.monotonic() < deadline:
            time.sleep(0.002)
        assert not found, f"left over: {found}"

    def _beyond(self, connections: int) -> dict[str, int]:
        kept = {"sessions", "sockets", "users", "connections"}
        bound = {name: connections if name in kept else 0 for name in self._idle}
        bound["deadlines"] = 2 * connections  # of a heartbeat, and of a token
        return {name: size for name, size in self.tables().items() if size > bound[name]}

    def _count(self) -> dict[str, int]:
        parley, engine = self._parley, self._parley.server.engine
        namespace = parley.server.namespace(NAMESPACE)
        delivery, service = parley._delivery, parley._service
        return {
            "connections": len(self._server.server_state.connections),
            "requests": len(self._server.server_state.tasks),
            "sessions": len(engine.sessions),
            "lingering": len(engine._lingering),
            "moves": len(engine._tasks),
            "requests that wait": len(engine._waiting),
            # The books of what clients have spent are looked through for some seconds after.
            "deadlines": len(engine.deadlines) - (engine.limiter._sweeping.bucket is not None),
            "at the door": parley.door.waiting,
            "unflushed": len(engine.batch._dirty),
            "sockets": len(namespace.sockets),
            "handlers": len(namespace._running),
            "users": delivery.users,
            "opening": len(delivery._opening),
            "unstored": service.waiting,
        }

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            self._loop = runner.get_loop()
            runner.run(self._serve())

    async def _serve(self) -> None:
        place = Place()
        async with open_backends(self._settings, place) as backends:
            self._parley = Parley(self._settings, place, backends, SystemClock())
            try:
                await self._parley.start()
                config = _uvicorn_config(self._settings, self._parley, None)
                self._server = _Server(config, self._parley, self._ready.set)
                await self._server.serve([self._sock])
            finally:
                await self._parley.close()


@contextmanager
def live_node(folder: Path) -> Iterator[LiveNode]:
    """A node that serves; it must not have told of an error in the end, and nothing may be left."""
    with no_errors():
        node = LiveNode(folder / "parley.db")
        node.start()
        try:
            yield node
            node.wait_until_idle()
        finally:
            node.stop()
