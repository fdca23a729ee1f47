"""Waiting, at the start, for servers that may start later than we do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from parley.errors import BackendAway, BackendBroken
from parley.incidents import Incident, tell

logger = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY: Final = 0.5
"""Seconds between two attempts."""
_REMIND: Final = 5.0
"""Seconds between two log lines."""


async def wait_for(name: str, attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Make attempts to reach the server ``name`` until one succeeds, for ``seconds`` at most.

    Raises:
        BackendBroken: it was away all the time, or an attempt raised it.
    """
    time = asyncio.get_running_loop().time
    started = reminded = time()
    told = False
    while True:
        try:
            return await attempt()
        except BackendAway as exc:
            now = time()
            if now - started >= seconds:
                raise BackendBroken(
                    f"{name} was not there within {seconds:g} seconds ({exc}). Start it, or "
                    "check the settings that name it."
                ) from exc
            if not told or now - reminded >= _REMIND:
                left = seconds - (now - started)
                text = f"waiting for {name}, {left:.0f} seconds more"
                tell(logger, Incident.BACKEND_AWAITED, text, reason=exc, always=True, backend=name)
                told, reminded = True, now
        await asyncio.sleep(_RETRY)
