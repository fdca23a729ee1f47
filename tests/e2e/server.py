"""A Parley server in a process of its own, started the way an operator does it."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
from prometheus_client.parser import text_string_to_metric_families

from parley.settings import settings_table

PATIENCE = 10.0
"""Seconds after which a test that waits for something gives up.  No test depends on less."""
HUSH = "hush"
"""Every message text of these tests holds it, so that a log that tells one gives itself away."""
TOKEN_START = "eyJ"
"""How every JSON Web Token begins."""

_OURS = {row.name for row in settings_table()}


class ChatServer:
    """One server on one database file; may be stopped, killed and started again."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.secret = secrets.token_urlsafe(48)
        self.port = _free_port()
        self.database = folder / "parley.db"
        self._folder = folder
        self._log_file = folder / "server.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if name not in _OURS},
            "JWT_SECRET_KEY": self.secret,
            "DATABASE_TYPE": "sqlite",
            "DATABASE_DB": str(self.database),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "LOG_LEVEL": "debug",  # nothing private is in the log, however much it tells
            **(settings or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def log(self) -> str:
        """Everything that the server has written to its log so far."""
        return self._log_file.read_text() if self._log_file.exists() else ""

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "parley", "start"],
                cwd=self._folder,  # where nobody keeps a .env
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._wait_until_it_answers(self._process)

    def terminate(self) -> None:
        """Ask it to stop, and don't wait."""
        assert self._process is not None
        self._process.terminate()

    def wait_until_stopped(self) -> None:
        """Wait for the end of a server that was asked to stop; it must say that all went well."""
        assert self._process is not None
        process, self._process = self._process, None
        try:
            code = process.wait(timeout=3 * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        assert code == 0, f"exit status {code}:\n{self.log()}"

    def stop(self) -> None:
        """Stop it gracefully, unless it is down; what its log must not hold is looked for."""
        if self._process is not None:
            self.terminate()
            self.wait_until_stopped()
        log = self.log()
        assert "Traceback" not in log, log
        for private in (self.secret, TOKEN_START, HUSH):
            assert private not in log, f"{private!r} is in the log:\n{log}"

    def kill(self) -> None:
        """End it from one moment to the next."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

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

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 3 * PATIENCE
        while time.monotonic() < deadline:
            code = process.poll()
            assert code is None, f"the server ended with {code}:\n{self.log()}"
            try:
                status, body = self.get("/healthz")
            except OSError:
                time.sleep(0.02)
            else:
                assert (status, json.loads(body)) == (200, {"status": "ok"})
                return
        raise AssertionError(f"the server does not answer:\n{self.log()}")


def new_user() -> str:
    """The id of somebody whom no other test knows."""
    return str(uuid4())


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"{{{pairs}}}" if pairs else ""


def _free_port() -> int:
    """A port that no connection takes by chance while a server is down for a moment."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # below the range for outgoing connections
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
