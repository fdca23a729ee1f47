"""A Parley server in a process of its own, started the way an operator does it."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import jwt
import psutil
from prometheus_client.parser import text_string_to_metric_families

from parley.settings_loading import settings_table
from tests.services.ports import free_port

PATIENCE = 10.0
"""Seconds after which a test that waits for something gives up.  No test depends on less."""
HUSH = "hush"
"""Every message text of these tests holds it, so that a log that tells one gives itself away."""
TOKEN_START = "eyJ"
"""How every JSON Web Token begins."""

OURS = {row.name for row in settings_table()}
"""Variables that Parley reads."""


class Entrance(Protocol):
    """Where clients connect: a server, or what stands before several."""

    @property
    def url(self) -> str: ...

    def token(self, user: str, **claims: Any) -> str:
        """A token for ``user`` that is valid for an hour, if ``claims`` say nothing else."""
        ...


class ChatServer:
    """One server, with workers or without; may be stopped, killed and started again."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        program: Sequence[str] = ("parley", "start"),
    ) -> None:
        """``settings`` may name a database; else it has an SQLite file in ``folder``.

        ``program``: the Python module that serves, and its arguments.
        """
        self.port = free_port()
        self._program = program
        self.folder = folder
        self._log_file = folder / "server.log"
        self._environment = {
            **without_settings(),
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
            "DATABASE_TYPE": "sqlite",
            "DATABASE_DB": str(folder / "parley.db"),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "LOG_LEVEL": "debug",  # nothing private is in the log, however much it tells
            **(settings or {}),
        }
        self._log_before = 0
        """Characters that it held when the process was started."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What it is started with."""
        return self._environment

    @property
    def secret(self) -> str:
        """What it signs tokens with; empty if it has public keys instead."""
        return self._environment["JWT_SECRET_KEY"]

    @property
    def settings(self) -> Mapping[str, str]:
        """The variables that it is started with and that are settings."""
        return {name: value for name, value in self._environment.items() if name in OURS}

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return Path(self._environment["DATABASE_DB"])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """True from its start until it is known to have ended."""
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Everything that the server has written to its log so far."""
        return self._log_file.read_text() if self._log_file.exists() else ""

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait_until_it_answers()

    def launch(self) -> None:
        """Start it, and don't wait."""
        self._log_before = len(self.log())
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._program],
                cwd=self.folder,  # where nobody keeps a .env
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # it and its workers can be killed as one
            )

    def wait_until_it_answers(self) -> None:
        """Wait until a server that was launched serves requests, with all of its workers."""
        wait_until(self._answers, lambda: f"the server does not answer:\n{self.log()}")

    def wait_until_it_says(self, words: str, times: int = 1) -> None:
        """Wait until its log holds some words so many times."""
        wait_until(
            lambda: self.log().count(words) >= times,
            lambda: f"{words!r} is not in the log:\n{self.log()}",
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that was started, and not to its workers."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to stop, and don't wait."""
        self.signal(signal.SIGTERM)

    def wait_until_stopped(self) -> None:
        """Wait for the end of a server that was asked to stop; it must say that all went well."""
        code = self.wait_until_ended()
        assert code == 0, f"exit status {code}:\n{self.log()}"

    def wait_until_ended(self) -> int:
        """Wait for the end of a server; its exit status."""
        assert self._process is not None
        try:
            return self._process.wait(timeout=3 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self._process = None

    def stop(self) -> None:
        """Stop it gracefully, unless it is down; what its log must not hold is looked for."""
        if self.running:
            self.terminate()
            self.wait_until_stopped()
        self.check_log()

    def check_log(self) -> None:
        """Fail if the log holds what no log may hold."""
        log = self.log()
        assert "Traceback" not in log, log
        for private in filter(None, (self.secret, TOKEN_START, HUSH)):
            assert private not in log, f"{private!r} is in the log:\n{log}"

    def kill(self) -> None:
        """End it, and its workers, from one moment to the next."""
        assert self._process is not None
        with suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        # The workers end by themselves.
        wait_until(lambda: not self._listens(), lambda: "a worker of a killed server lives on")

    def workers(self) -> set[int]:
        """The process ids of its workers that live."""
        return {child.pid for child in psutil.Process(self.pid).children() if _is_worker(child)}

    def kill_worker(self, pid: int) -> None:
        """End one of them from one moment to the next."""
        assert pid in self.workers()
        os.kill(pid, signal.SIGKILL)

    def freeze(self) -> None:
        """Stop it and its workers in their tracks, as a machine does that has hung."""
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        os.killpg(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop it gracefully and start it on the same address and database."""
        self.stop()
        self.start()

    def token(self, user: str, **claims: Any) -> str:
        """A token for ``user`` that is valid for an hour, if ``claims`` say nothing else."""
        payload = {"sub": user, "exp": int(time.time()) + 3600, **claims}
        return jwt.encode(payload, self.secret, algorithm="HS256")

    def get(self, path: str) -> tuple[int, str]:
        """The status and the body of a page of the server's."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """What the server counts: ``{'parley_connections': 2.0, 'parley_errors{code="x"}': …}``."""
        status, text = self.get("/metrics")
        assert status == 200
        return {
            sample.name + _labels(sample.labels): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def _answers(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"the server ended with {code}:\n{self.log()}"
        if '"event":"ready"' not in self.log()[self._log_before :]:
            return False
        status, body = self.get("/healthz")
        assert (status, json.loads(body)) == (200, {"status": "ok"})
        return True

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), PATIENCE).close()
        except ConnectionRefusedError:
            return False
        return True


def wait_until(done: Callable[[], bool], complaint: Callable[[], str]) -> None:
    """Return when ``done`` says so; for what nothing tells of by itself."""
    deadline = time.monotonic() + 3 * PATIENCE
    while not done():
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.02)


@contextmanager
def running(server: ChatServer) -> Iterator[ChatServer]:
    """Start a server, and stop it in the end; what must hold of every server is checked then."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def without_settings() -> dict[str, str]:
    """The variables of this process, but for those that are settings of a server."""
    return {name: value for name, value in os.environ.items() if name not in OURS}


def new_user() -> str:
    """The id of somebody whom no other test knows."""
    return str(uuid4())


def _is_worker(process: psutil.Process) -> bool:
    """False for a helper of multiprocessing's own, and for what has ended meanwhile."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # or a zombie, which is a kind of it
        return False


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{pairs}}}" if pairs else ""
