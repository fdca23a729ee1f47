from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

PATIENCE = 20.0
"""Seconds after which what doesn't happen fails a test."""


async def eventually(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Return when ``look`` sees what is wanted."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while (seen := await look()) != wanted:
        assert asyncio.get_running_loop().time() < deadline, f"{seen} and never {wanted}"
        await asyncio.sleep(0.02)
