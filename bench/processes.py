"""CPU time and memory of processes and all their descendants.  Linux only: it reads /proc."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds.  What /proc/PID/stat counts in."""
_PROC: Final = Path("/proc")
_GONE: Final = (FileNotFoundError, ProcessLookupError)
"""How files of a process that has ended meanwhile fail."""


@dataclass(frozen=True, slots=True)
class CpuTime:
    """What a group of processes has used so far, in seconds."""

    total: float
    """Exact to the nanosecond, but for children that have ended, whose time is kept in ticks."""
    user: float
    """User time as the kernel's ticks tell it."""
    system: float
    """System time as the kernel's ticks tell it."""

    def since(self, earlier: CpuTime) -> CpuTime:
        """What was used in between.  Its total is split into user and system as the ticks are."""
        total = max(0.0, self.total - earlier.total)
        user, system = self.user - earlier.user, self.system - earlier.system
        share = system / (user + system) if user + system > 0 else 0.0
        return CpuTime(total, total * (1 - share), total * share)


class ProcessGroup:
    """Some processes, and whatever they have started that is still their descendant.

    A process whose parent has ended belongs to somebody else by then, and is not counted.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)

    def has_ended(self) -> bool:
        """One of the processes that were named is no more, even if nobody has noticed yet."""
        return not all(map(_lives, self._pids))

    def cpu_time(self) -> CpuTime:
        """The time used by all of them, by threads and by children that have ended, too.

        The same processes are always counted in the same way, so that differences are right.
        """
        total = user = system = 0.0
        for pid in self._members():
            try:
                running = time.clock_gettime(_cpu_clock(pid))
                own_user, own_system, ended_user, ended_system = _ticks(pid)
            except OSError:  # it has ended meanwhile, for which the clock says EINVAL
                continue
            total += running + (ended_user + ended_system) * _TICK
            user += (own_user + ended_user) * _TICK
            system += (own_system + ended_system) * _TICK
        return CpuTime(total, user, system)

    def memory(self) -> int:
        """PSS in bytes: a page shared by n processes counts 1/n in each of them.

        So workers that share their program, and PostgreSQL's processes with their shared buffers,
        are counted once, while the sum of their RSS would count them once for each process.
        """
        return sum(_pss(pid) for pid in self._members())

    def _members(self) -> Iterator[int]:
        todo, seen = list(self._pids), set[int]()
        while todo:
            pid = todo.pop()
            if pid not in seen:
                seen.add(pid)
                todo += _children(pid)
                yield pid


def _cpu_clock(pid: int) -> int:
    """The clock of a whole process, as clock_getcpuclockid(3) of C makes its number.

    /proc/PID/schedstat is as exact, but forgets threads that have ended.
    """
    return ~pid << 3 | 2


def _lives(pid: int) -> bool:
    try:
        return _stat(pid)[0] not in (b"Z", b"X")  # a zombie has no memory, and does nothing
    except _GONE:
        return False


def _ticks(pid: int) -> tuple[int, int, int, int]:
    """User and system time, first its own, then of its children that have ended."""
    own_user, own_system, ended_user, ended_system = map(int, _stat(pid)[11:15])
    return own_user, own_system, ended_user, ended_system


def _stat(pid: int) -> list[bytes]:
    """What follows the program's name, which may hold anything."""
    return _read(pid, "stat").rpartition(b")")[2].split()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in (_PROC / str(pid) / "task").iterdir():
            found += map(int, (thread / "children").read_bytes().split())
    except _GONE:
        pass
    return found


def _pss(pid: int) -> int:
    try:
        for line in _read(pid, "smaps_rollup").splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except _GONE:
        pass
    return 0


def _read(pid: int, name: str) -> bytes:
    return (_PROC / str(pid) / name).read_bytes()
