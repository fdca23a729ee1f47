"""The clock of a server goes backwards."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.e2e.server import ChatServer, running

from .clocked import STEP
from .conftest import MakeOrdeal
from .crowd import Crowd
from .form import FORM
from .site import QUICK, Lone

ROOT = Path(__file__).parents[2]


async def test_when_the_clock_is_turned_back(ordeal_at: MakeOrdeal, tmp_path: Path) -> None:
    settings = {**QUICK, "PYTHONPATH": os.pathsep.join((str(ROOT), *sys.path))}
    server = ChatServer(tmp_path, settings, program=("tests.chaos.clocked",))

    async def turn_back(crowd: Crowd) -> None:
        chats = crowd.writers[1].record.acknowledged
        before = chats[-1]["createdAt"]
        server.signal(signal.SIGUSR1)
        async with asyncio.timeout(FORM.patience):
            half = STEP * 1000 / 2
            while chats[-1]["createdAt"] > before - half:  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(0.01)

    with running(server):
        crowd = await ordeal_at(Lone(server)).undergo(turn_back)
        assert all(reader.device.undisturbed for reader in crowd.readers)
