"""The applications of ``examples/`` in processes of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.e2e.server import PATIENCE, wait_until

EXAMPLES = Path(__file__).parents[2] / "examples"


class Application:
    """One that runs; its users log in by their names."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        """Where it is, which is also the origin of its page."""
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        """True as soon as it serves its page."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except ConnectionError:
            return False
        finally:
            connection.close()


@contextmanager
def running(
    command: Sequence[str], folder: Path, port: int, settings: Mapping[str, str], log: Path
) -> Iterator[Application]:
    """Start an application in its folder, and end it afterwards."""
    application = Application(port)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **settings, "PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        return application.answers()

    try:
        wait_until(answers, lambda: f"the example does not answer:\n{log.read_text()}")
        yield application
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)
    assert "Traceback" not in log.read_text(), log.read_text()
