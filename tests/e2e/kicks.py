"""`parley kick`, run beside a server, and tokens from before and after it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from .server import ChatServer, Entrance

BEFORE = 100
"""Seconds that a token is old."""


def kick(server: ChatServer, user: str, *options: str, complaint: str = "") -> str:
    """Run the command with the server's settings; what it printed.

    ``complaint``: what it must say on standard error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "parley", "kick", "--user", user, *options],
        cwd=server.folder,
        env=server.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert complaint in done.stderr
    assert complaint or not done.stderr
    return done.stdout


def old_token(entrance: Entrance, user: str) -> dict[str, str]:
    """A token that was issued a while ago."""
    return {"token": entrance.token(user, iat=int(time.time()) - BEFORE)}


def old_then_new_token(entrance: Entrance, user: str) -> Callable[[], dict[str, str]]:
    """What an application's ``auth`` callback does that fetches a token each time."""
    tokens = [old_token(entrance, user)]
    return lambda: tokens.pop() if tokens else {"token": entrance.token(user, iat=int(time.time()))}
