"""Free ports for the servers of the tests."""

from __future__ import annotations

import secrets
import socket
from collections import deque
from typing import Final

_given: Final[deque[int]] = deque(maxlen=2_000)
"""Ports that may be about to be used."""


def free_port() -> int:
    """A port that nothing else takes by chance while a server is down, or not yet up."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # below the range for outgoing connections
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.append(port)
        return port
