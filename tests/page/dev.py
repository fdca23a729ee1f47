"""``parley dev`` in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from tests.e2e.server import PATIENCE, wait_until
from tests.services.ports import free_port


class Answer(NamedTuple):
    """What a server said."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


def ask(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    """One request; ``_`` in the name of a header stands for ``-``."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=sent)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, response.read())
    finally:
        connection.close()


@contextmanager
def dev_server(folder: Path) -> Iterator[int]:
    """Run it; its port."""
    port = free_port()
    command = [sys.executable, "-m", "parley", "dev", "--port", str(port), "--data", str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_until(lambda: _answers(port), (folder / "log").read_text)
        yield port
    finally:
        process.terminate()
        assert process.wait(3 * PATIENCE) == 0


def _answers(port: int) -> bool:
    try:
        return ask(port, "/healthz").status == 200
    except ConnectionError:
        return False


def ready_users(port: int, **headers: str) -> list[dict[str, str]]:
    """Those whom the server offers."""
    users: list[dict[str, str]] = json.loads(ask(port, "/users.json", **headers).body)
    return users
