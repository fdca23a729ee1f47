"""Restarts a server process whenever a file changes: ``parley start --watch``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import structlog
import watchfiles

from parley import processes

log = structlog.get_logger()

_SOURCES = {".py", ".sql", ".html", ".js", ".css"}


def run(target: Callable[..., object], args: Sequence[Any], *, package: Path, dotenv: Path) -> None:
    """Run ``target(*args)`` in a process, anew after each change, until SIGINT or SIGTERM.

    Watches the sources below ``package`` and the file ``dotenv``, which need
    not exist yet.  A process that ends by itself stays away until the next
    change.  The process is asked to stop by SIGTERM and is then waited for.
    Call it from the main thread, with a ``target`` that can be pickled.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    package, dotenv = package.resolve(), dotenv.resolve()
    process: SpawnProcess | None = processes.start(target, args)
    for changes in watchfiles.watch(
        *_directories(package, dotenv),
        watch_filter=lambda _, path: _matters(Path(path), package, dotenv),
        stop_event=stop,
        rust_timeout=1000,
        yield_on_timeout=True,
        # A working directory may hold anything, node_modules too: only its own .env counts.
        recursive=False,
        ignore_permission_denied=True,
    ):
        if changes:
            log.info("restarting", changed=sorted({Path(path).name for _, path in changes}))
            _finish(process)
            process = processes.start(target, args)
        elif process is not None and process.exitcode is not None:
            log.warning("stopped, waiting for a change", status=process.exitcode)
            process = None
    _finish(process)


def _directories(package: Path, dotenv: Path) -> list[Path]:
    below = (path for path in package.rglob("*") if path.is_dir() and path.name != "__pycache__")
    return [package, *below, dotenv.parent]


def _matters(path: Path, package: Path, dotenv: Path) -> bool:
    return path == dotenv or (path.suffix in _SOURCES and path.is_relative_to(package))


def _finish(process: SpawnProcess | None) -> None:
    if process is not None:
        processes.finish(process)
