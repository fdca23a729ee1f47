"""The servers that are compared: what they are, whether they can run here, start and end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final, Literal

import msgspec

from bench.errors import CannotRun
from bench.seed import fill
from bench.services import Backends, Services
from parley.settings_loading import settings_table
from tests.services.ports import free_port

SECRET: Final = "the-secret-of-the-compared-servers"
"""What all of them expect tokens to be signed with."""
PEERS: Final = Path(__file__).parent / "peers"
_SET_UP: Final = 300.0
"""Seconds that a server may take to answer: a peer may have to install and compile itself."""
_STOP: Final = 30.0
"""Seconds after which a server that was asked to end is ended."""
_OURS: Final = {row.name for row in settings_table()}


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """A server that may be compared."""

    name: str
    title: str
    """How the tables call it."""
    command: tuple[str, ...]
    environment: Mapping[str, str] = {}
    programs: tuple[str, ...] = ()
    """What must be installed for it to run."""
    storage: Literal["postgres", "sqlite", "none"] = "postgres"
    """``postgres``: and Redis."""
    workers: int = 1
    chats: int = 0
    """How many its database holds before anything is measured."""


def catalogue(others: Sequence[tuple[str, Path]] = ()) -> dict[str, Spec]:
    """All servers by name, and ``others``: names, and folders with a ``run.sh``."""
    specs = [
        *_parleys(),
        _peer("nestjs", "NestJS", PEERS / "nestjs"),
        _peer("node", "Node, one INSERT per message", PEERS / "node-socketio", COMMIT="each"),
        _peer("node-group", "Node, group commit", PEERS / "node-socketio", COMMIT="group"),
        Spec(
            name="python-socketio",
            title="python-socketio",
            command=(str(PEERS / "python-socketio" / "run.sh"),),
            environment={"PYTHON": sys.executable},
        ),
        *(_peer(name, name, folder.resolve()) for name, folder in others),
    ]
    return {spec.name: spec for spec in specs}


def _parleys() -> Iterator[Spec]:
    start = (sys.executable, "-m", "parley", "start")
    yield Spec(name="parley", title="Parley", command=start)
    for workers in (2, 4):
        yield Spec(
            name=f"parley-{workers}",
            title=f"Parley, {workers} workers",
            command=(*start, "--workers", str(workers)),
            workers=workers,
        )
    for millions in (1, 5):
        yield Spec(
            name=f"parley-{millions}m",
            title=f"Parley, {millions},000,000 chats",
            command=start,
            chats=millions * 1_000_000,
        )
    yield Spec(name="parley-sqlite", title="Parley on SQLite", command=start, storage="sqlite")
    yield Spec(
        name="transport",
        title="Parley, nothing stored",
        command=(sys.executable, "-m", "bench.instant"),
        storage="none",
    )


def _peer(name: str, title: str, folder: Path, **environment: str) -> Spec:
    return Spec(
        name=name,
        title=title,
        command=(str(folder / "run.sh"),),
        environment=environment,
        programs=("node", "npm"),
    )


class Server:
    """One of them, in a process of its own, with a database and a Redis of its own."""

    def __init__(self, spec: Spec, services: Services, folder: Path) -> None:
        """``folder`` is for it alone."""
        self.spec = spec
        self._folder = folder
        self._log_file = folder / "server.log"
        self._port = free_port()
        self._services = services
        self._backends: Backends | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pids(self) -> dict[str, int]:
        """The first process of the server and of each service that it uses."""
        assert self._process is not None
        own = {"server": self._process.pid}
        return {**own, **self._backends.pids} if self._backends else own

    def start(self) -> None:
        """Start it and return when it answers.

        Raises:
            CannotRun: it lacks something, or ends by itself.
        """
        for program in (*self.spec.programs, self.spec.command[0]):
            if shutil.which(program) is None:
                raise CannotRun(f"{Path(program).name} is not here")
        self._folder.mkdir(parents=True, exist_ok=True)
        if self.spec.storage == "postgres" and self._backends is None:
            self._backends = self._services.backends(self._folder / "valkey")
        with self._log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.spec.command,
                cwd=self._working_folder(),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # it and its children can be ended as one
            )
        self._wait_until_it_answers()

    def settle(self) -> None:
        """Let its database do now what would disturb a measurement later."""
        if self._backends:
            self._backends.settle()

    def fill(self) -> None:
        """Put into its database what it shall hold."""
        if self.spec.chats and self._backends:
            fill(self._backends.execute, self.spec.chats)

    def restart(self) -> None:
        """A new process, on the database that the last one has set up."""
        self._end()
        self.start()

    def stop(self) -> None:
        """End it, and what only it used.  Idempotent."""
        self._end()
        if self._backends:
            self._backends.stop()
            self._backends = None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP)
        with suppress(ProcessLookupError):  # usually nothing of it is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _working_folder(self) -> Path:
        """One without a .env; but modules of this repository are found in its root."""
        return Path.cwd() if self.spec.storage == "none" else self._folder

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in _OURS}
        storage = {"DATABASE_TYPE": "sqlite", "DATABASE_DB": str(self._folder / "chats.db")}
        return {
            **inherited,
            **(self._backends.environment() if self._backends else storage),
            **self.spec.environment,
            "HOST": "127.0.0.1",
            "PORT": str(self._port),
            "JWT_SECRET_KEY": SECRET,
        }

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _SET_UP
        while not self._answers():
            if (status := self._process.poll()) is not None:
                raise CannotRun(f"it ended with status {status}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise CannotRun(f"it does not answer: {self._last_words()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/socket.io/?EIO=4&transport=polling")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _last_words(self) -> str:
        """The last line of its log that says something."""
        lines = self._log_file.read_text(errors="replace").split("\n")
        return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "no log")


class Fleet:
    """Those servers that run; the others wait, or can't."""

    def __init__(self, services: Services, folder: Path, tell: Callable[[str], None]) -> None:
        """``tell`` is called with lines for people to read: a start may take minutes."""
        self.obstacles: dict[str, str] = {}
        """Why a server can't run here, by its name."""
        self._services, self._folder, self._tell = services, folder, tell
        self._running: dict[str, Server] = {}

    def use(self, specs: Sequence[Spec]) -> dict[str, Server]:
        """Have these run, as far as they can, and no others, which might disturb."""
        wanted = {spec.name for spec in specs}
        for name in self._running.keys() - wanted:
            self._running.pop(name).stop()
        for spec in specs:
            if spec.name not in self._running and spec.name not in self.obstacles:
                self._start(spec)
        return dict(self._running)

    def stop(self) -> None:
        """End all of them."""
        while self._running:
            self._running.popitem()[1].stop()

    def _start(self, spec: Spec) -> None:
        server = Server(spec, self._services, self._folder / spec.name)
        self._tell(f"  starting {spec.name}")
        self._running[spec.name] = server  # so that it is ended whatever happens
        try:
            server.start()
            server.fill()
        except CannotRun as reason:
            self.obstacles[spec.name] = str(reason)
            self._running.pop(spec.name).stop()


@contextmanager
def fleet(services: Services, folder: Path, tell: Callable[[str], None]) -> Iterator[Fleet]:
    """A fleet of which nothing is left in the end."""
    those = Fleet(services, folder, tell)
    try:
        yield those
    finally:
        those.stop()
