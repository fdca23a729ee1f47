"""The store on which the rules of chat are tested."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from . import FaultyStore, faulty_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FaultyStore]:
    """An empty one, on SQLite, with faults to order."""
    async with faulty_store(tmp_path) as opened:
        yield opened
