"""One server on an SQLite file: it dies, and its disk fills up."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.e2e.server import ChatServer, running

from .conftest import MakeOrdeal
from .crowd import Crowd
from .form import FORM
from .site import QUICK, Lone, aside

StartServer: TypeAlias = Callable[[Path], ChatServer]

DISK = 64 << 20
"""Bytes."""
LITTLE = 256 << 10
"""Bytes: fewer than SQLite writes between two checkpoints, behind which it uses its log anew.
The log's own size would do for long."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; skipped where mounting isn't allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={DISK},uid={os.getuid()},mode=700"
    mount = ["mount", "-t", "tmpfs", "-o", options, "parley-test", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no program to mount a small disk with")
    if done.returncode:
        pytest.skip(f"a small disk can't be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts a server whose database is in a folder."""
    with ExitStack() as stack:

        def start(folder: Path) -> ChatServer:
            # Few lines, because what limits its files limits its log, too.
            more = {"DATABASE_DB": str(folder / "parley.db"), "LOG_LEVEL": "info"}
            return stack.enter_context(running(ChatServer(tmp_path, {**QUICK, **more})))

        yield start


async def test_when_the_server_is_killed(
    ordeal_at: MakeOrdeal, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(tmp_path)

    async def die(crowd: Crowd) -> None:
        await aside(server.kill, server.start)

    await ordeal_at(Lone(server)).undergo(die)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits other processes")
async def test_when_no_file_may_be_large(
    ordeal_at: MakeOrdeal, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(tmp_path)

    async def be_full(crowd: Crowd) -> None:
        unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (LITTLE, unlimited[1]))
        try:
            await until_sends_fail(server)
        finally:
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)

    crowd = await ordeal_at(Lone(server)).undergo(be_full)
    assert all(reader.device.undisturbed for reader in crowd.readers)


async def test_when_the_disk_is_full(
    ordeal_at: MakeOrdeal, small_disk: Path, start_server: StartServer
) -> None:
    server = start_server(small_disk)
    ballast = small_disk / "ballast"

    async def be_full(crowd: Crowd) -> None:
        try:
            await aside(lambda: fill(ballast))
            await until_sends_fail(server)
        finally:
            ballast.unlink()

    crowd = await ordeal_at(Lone(server)).undergo(be_full)
    assert all(reader.device.undisturbed for reader in crowd.readers)


async def until_sends_fail(server: ChatServer) -> None:
    """Wait until clients are told that nothing can be stored, and a while longer."""
    before = await asyncio.to_thread(failures, server)
    async with asyncio.timeout(FORM.patience):
        while await asyncio.to_thread(failures, server) == before:  # noqa: ASYNC110 - who else tells
            await asyncio.sleep(0.05)
    await asyncio.sleep(FORM.fault / 2)


def failures(server: ChatServer) -> float:
    """How often it could not store."""
    return server.metrics().get('parley_errors_total{code="store_unavailable"}', 0.0)


def fill(ballast: Path) -> None:
    """Take all of the disk that is left."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
