"""Counts what code does, by the interpreter's own hooks."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Final, Self

_TESTS: Final = str(Path(__file__).parents[1])


class Counter:
    """Counts in the thread that starts it, and in threads that are made while it is entered.

    Code of the tests isn't counted; what it calls is.
    """

    def __init__(self) -> None:
        self.instructions = 0
        """Instructions of Python's virtual machine."""
        self.calls = 0
        """Calls of functions written in C."""
        self.tasks = 0
        """Tasks of asyncio that were made."""
        self._counting = False

    def __enter__(self) -> Self:
        self._former = (threading.gettrace(), threading.getprofile())
        threading.settrace(self._enter)
        threading.setprofile(self._profile)
        return self

    def __exit__(self, *error: object) -> None:
        trace, profile = self._former
        threading.settrace(trace)
        threading.setprofile(profile)

    def start(self) -> None:
        """Count from zero what is called here and what else the running event loop does."""
        self.instructions = self.calls = self.tasks = 0
        self._loop = asyncio.get_running_loop()
        self._hooks = (sys.gettrace(), sys.getprofile(), self._loop.get_task_factory())
        self._loop.set_task_factory(self._make_task)
        sys.settrace(self._enter)
        sys.setprofile(self._profile)
        self._counting = True

    def stop(self) -> None:
        """Count no more; in the thread and the task that :meth:`start` was called in."""
        self._counting = False
        trace, profile, factory = self._hooks
        sys.setprofile(profile)
        sys.settrace(trace)
        self._loop.set_task_factory(factory)

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        """The trace function of the interpreter: told of every frame that is entered."""
        if not self._counting or frame.f_code.co_filename.startswith(_TESTS):
            return None
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode" and self._counting:
            self.instructions += 1
        return self._step

    def _profile(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "c_call" and self._counting and not frame.f_code.co_filename.startswith(_TESTS):
            self.calls += 1

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any
    ) -> asyncio.Task[Any]:
        self.tasks += 1
        return asyncio.Task(work, loop=loop, **options)
