"""Processes of our own, each a fresh interpreter."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import SpawnProcess
from typing import Any

import structlog

from parley.incidents import Incident

log = structlog.get_logger()

# Not forked: threads, event loops and imported modules stay behind.
spawn = multiprocessing.get_context("spawn")
# Its side effect matters: it registers how to pass a listening socket to a process.
multiprocessing.allow_connection_pickling()


def start(
    target: Callable[..., object], args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> SpawnProcess:
    """Call ``target(*args, **kwargs)``, all of which can be pickled, in a new process."""
    process = spawn.Process(target=target, args=tuple(args), kwargs=dict(kwargs or {}))
    process.start()
    return process


def stop_with_parent() -> None:
    """Get SIGTERM when the parent process ends, if it is one of ours.

    A server whose supervisor was killed would keep the port, and nobody could stop it.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            parent.join()
            signal.raise_signal(signal.SIGTERM)

        threading.Thread(target=watch, name="parley-parent", daemon=True).start()


def finish(process: SpawnProcess, patience: float | None = None) -> None:
    """Ask a process by SIGTERM to stop; kill it if it hasn't after ``patience`` seconds, if any."""
    process.terminate()
    wait(process, patience)


def wait(process: SpawnProcess, patience: float | None) -> None:
    """Wait for the end of a process that was asked to stop, as :func:`finish` does."""
    process.join(None if patience is None else max(0.0, patience))
    if process.exitcode is None:
        kind, reason = Incident.STOP_CUT_SHORT.value, "the grace is over"
        log.warning(
            "a process does not stop; killing it", pid=process.pid, kind=kind, reason=reason
        )
        process.kill()
        process.join()
