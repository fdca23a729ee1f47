"""The real :class:`parley.chat.ports.Clock`."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> float:
        return time.time()
