"""Several processes that serve on one socket: ``parley start --workers N``."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from types import FrameType
from typing import Any, Final, TypeAlias

import structlog

from parley import processes
from parley.incidents import Incident

log = structlog.get_logger()

Work: TypeAlias = Callable[..., object]
"""``work(*args, number, ready)``: serves as the worker ``number``, from 1, and sets ``ready``."""

_LOOK: Final = 0.1
"""Seconds between two looks at the workers."""
_RESTART_WAIT: Final = 1.0
"""Seconds before a worker that ended is started anew; it may end for the same reason."""
_HANGUP: Final = getattr(signal, "SIGHUP", None)
"""Windows has none."""


class Supervisor:
    """Starts the workers, starts those anew that end, and stops them all.

    SIGTERM and SIGINT stop them gracefully.  SIGHUP replaces one after the
    other; each goes when the next one serves.
    """

    def __init__(self, work: Work, args: tuple[Any, ...], count: int, *, patience: float) -> None:
        """``work`` and ``args`` can be pickled: every worker is a fresh interpreter.

        A worker that was asked to stop and has not after ``patience`` seconds is killed.
        """
        self._patience = patience
        self._work = work
        self._args = args
        self._workers = [_Worker(number) for number in range(1, count + 1)]
        self._stop = False
        self._replace = False
        self._retiring: list[SpawnProcess] = []
        """Those that have been replaced and have not ended."""

    def run(self, on_ready: Callable[[], None]) -> int:
        """Serve until a signal; returns the exit status.

        ``on_ready`` is called when all workers serve.  Call it from the main
        thread.  If a worker fails before it has ever served, all stop, and its
        status is returned.
        """
        for number in (signal.SIGTERM, signal.SIGINT, _HANGUP):
            if number is not None:
                signal.signal(number, self._on_signal)
        processes.stop_with_parent()
        for worker in self._workers:
            self._start(worker)
        status = 0
        try:
            if self._until_ready(self._workers):
                on_ready()
                self._watch()
            elif not self._stop:
                status = next(w.process.exitcode for w in self._workers if w.failed) or 1
        finally:
            stopping = [worker.process for worker in self._workers] + self._retiring
            for process in stopping:
                process.terminate()
            deadline = time.monotonic() + self._patience
            for process in stopping:
                processes.wait(process, deadline - time.monotonic())
        return status

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == _HANGUP:
            self._replace = True
        else:
            self._stop = True

    def _start(self, worker: _Worker) -> None:
        worker.ended_at = None
        worker.ready = processes.spawn.Event()
        kwargs = {"number": worker.number, "ready": worker.ready}
        worker.process = processes.start(self._work, self._args, kwargs)

    def _until_ready(self, workers: list[_Worker]) -> bool:
        """Wait until all serve; False if one has failed, or all shall stop."""
        while not self._stop and not any(worker.failed for worker in workers):
            if all(worker.ready.is_set() for worker in workers):
                return True
            time.sleep(_LOOK)
        return False

    def _watch(self) -> None:
        while not self._stop:
            for worker in self._workers:
                if worker.process.exitcode is not None:
                    self._restart(worker)
            if self._replace:
                self._replace = False
                self._replace_all()
            time.sleep(_LOOK)

    def _restart(self, worker: _Worker) -> None:
        if worker.ended_at is None:
            worker.ended_at = time.monotonic()
            _tell("a worker ended", worker)
        elif time.monotonic() > worker.ended_at + _RESTART_WAIT:
            self._start(worker)

    def _replace_all(self) -> None:
        log.info("replacing the workers")
        for worker in self._workers:
            old = worker.process
            self._start(worker)
            self._retiring = [old]
            if self._until_ready([worker]):
                self._retire(old)
            elif not self._stop:
                _tell("a new worker failed, the others stay as they are", worker)
                processes.finish(worker.process, self._patience)
                worker.process = old
                self._retiring = []
                return
            if self._stop:
                return
            self._retiring = []

    def _retire(self, old: SpawnProcess) -> None:
        """Let a worker stop that has been replaced; end early if all shall stop."""
        old.terminate()
        deadline = time.monotonic() + self._patience
        while old.exitcode is None and time.monotonic() < deadline and not self._stop:
            time.sleep(_LOOK)
        if not self._stop:
            processes.wait(old, 0)


def _tell(text: str, worker: _Worker) -> None:
    """As :func:`parley.incidents.tell`, in a process that has no metrics."""
    reason = f"exit status {worker.process.exitcode}"
    log.error(text, worker=worker.number, kind=Incident.WORKER_ENDED.value, reason=reason)


class _Worker:
    """One of the processes, which may be replaced."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: SpawnProcess
        self.ready: Event
        self.ended_at: float | None = None

    @property
    def failed(self) -> bool:
        """It ended without ever having served."""
        return self.process.exitcode is not None and not self.ready.is_set()
