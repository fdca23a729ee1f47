"""What groups of processes use while something is measured."""

from __future__ import annotations

import time
from collections.abc import Mapping

from bench.processes import CpuTime, ProcessGroup

from .faults import Faults
from .report import Usage

Groups = Mapping[str, ProcessGroup]


class Window:
    """From its making until :meth:`close`."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._before = {name: group.cpu_time() for name, group in groups.items()}
        self._began = time.monotonic()
        self._used: dict[str, CpuTime | None] = {}
        self.seconds = 0.0
        """Its length, once it is closed."""

    def close(self) -> None:
        self.seconds = time.monotonic() - self._began
        for name, group in self._groups.items():
            used = group.cpu_time().since(self._before[name])
            self._used[name] = None if group.has_ended() else used

    def usage(self, units: int) -> dict[str, Usage]:
        """What each group used, per unit of work."""
        return {name: self._share(used, units) for name, used in self._used.items()}

    def cpu_percent(self) -> dict[str, float | None]:
        """What each group used, of one core."""
        return {name: usage.cpu_percent for name, usage in self.usage(0).items()}

    def _share(self, used: CpuTime | None, units: int) -> Usage:
        if used is None:
            return Usage(None, None, None)
        percent = round(100 * used.total / self.seconds, 2)
        if units == 0:
            return Usage(None, None, percent)
        return Usage(
            round(used.total / units * 1e6, 2), round(used.system / units * 1e6, 2), percent
        )


def memory(groups: Groups) -> dict[str, int | None]:
    """PSS by group."""
    return {name: None if group.has_ended() else group.memory() for name, group in groups.items()}


def count_ended(groups: Groups, faults: Faults) -> None:
    """A process that was to be measured and has ended is a fault."""
    for name, group in groups.items():
        if group.has_ended():
            faults.count(f"a process of {name} has ended")
