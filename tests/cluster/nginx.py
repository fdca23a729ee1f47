"""nginx before several nodes, as ``deploy/nginx.conf`` has it: each request goes to the next."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import PATIENCE, Entrance
from tests.services.ports import free_port

_SHIPPED = Path(__file__).parents[2] / "deploy" / "nginx.conf"
_HERE = {
    "error_log stderr;": "{user} daemon off; pid nginx.pid; error_log error.log;",
    "access_log /dev/stdout parley;": """
    access_log access.log parley;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream nodes {{ {servers} }}""",
    "listen 3000;": "listen 127.0.0.1:{port};",
    "http://$nodes;": "http://nodes;",
}
"""What of the shipped configuration has to be otherwise where there is no Docker."""


class Nginx:
    """A balancer that people really use."""

    def __init__(self, folder: Path, entrance: Entrance, ports: Sequence[int]) -> None:
        """``entrance`` makes the tokens; ``ports`` are where its servers listen."""
        self._folder = folder
        self._entrance = entrance
        self._port = free_port()
        user = "user root;" if os.geteuid() == 0 else ""  # whoever runs it must reach the folder
        servers = " ".join(f"server 127.0.0.1:{port};" for port in ports)
        configuration = _SHIPPED.read_text()
        for shipped, here in _HERE.items():
            assert configuration.count(shipped) == 1, shipped
            replaced = here.format(user=user, servers=servers, port=self._port)
            configuration = configuration.replace(shipped, replaced)
        (folder / "nginx.conf").write_text(configuration)
        self._process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def token(self, user: str, **claims: Any) -> str:
        """A token for ``user``."""
        return self._entrance.token(user, **claims)

    def statuses(self) -> Counter[int]:
        """How many answers of each HTTP status it has given, as far as it has logged them."""
        return Counter(int(line.split('"')[2].split()[0]) for line in self.log().splitlines())

    def log(self) -> str:
        """A line for each answer that it has given, as far as it has written them."""
        return (self._folder / "access.log").read_text()

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self._process = subprocess.Popen(
            ["nginx", "-p", str(self._folder), "-c", "nginx.conf", "-e", "error.log"],
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), PATIENCE).close()
            except ConnectionRefusedError:
                assert self._process.poll() is None, (self._folder / "error.log").read_text()
                assert time.monotonic() < deadline, "nginx does not answer"
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Stop it at once."""
        self._process.terminate()
        self._process.wait()


@contextmanager
def running(folder: Path, entrance: Entrance, ports: Sequence[int]) -> Iterator[Nginx]:
    """An nginx, or a skipped test where there is none."""
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed here")
    nginx = Nginx(folder, entrance, ports)
    nginx.start()
    try:
        yield nginx
    finally:
        nginx.stop()
