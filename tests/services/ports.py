"""Free ports for the servers of the tests."""

from __future__ import annotations

import secrets
import socket


def free_port() -> int:
    """A port that no connection takes by chance while a server is down for a moment."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # below the range for outgoing connections
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
