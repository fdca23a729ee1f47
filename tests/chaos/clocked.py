"""A real server, but for its clock: each SIGUSR1 turns that back by an hour."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType
from typing import Final

import structlog

from parley import logs
from parley.listen import bind
from parley.serving import serve
from parley.settings_loading import load_settings

STEP: Final = 3600.0
"""Seconds."""


class SteppingClock:
    """A :class:`parley.chat.ports.Clock`."""

    def __init__(self) -> None:
        self._behind = 0.0

    def now(self) -> float:
        return time.time() - self._behind

    def step_back(self, number: int, frame: FrameType | None) -> None:
        """What a signal does."""
        self._behind += STEP


def main() -> None:
    """As `parley start` does."""
    settings = load_settings(os.environ)
    logs.configure(settings.log_level, settings.log_format)
    clock = SteppingClock()
    signal.signal(signal.SIGUSR1, clock.step_back)
    with bind(settings.host, settings.port) as sock:
        serve(settings, sock, on_ready=lambda: structlog.get_logger().info("ready"), clock=clock)


if __name__ == "__main__":
    main()
