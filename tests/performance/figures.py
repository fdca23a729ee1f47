"""What a path costs, and what is too much."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The costs of a path, for each message or connection; the last one for a whole round."""

    instructions: float
    """Of Python's virtual machine."""
    calls: float
    """Of C functions."""
    tasks: float
    """Of asyncio, that were made."""
    cpu: float
    """CPU time of all threads, in steps of the reference loop."""
    writes: int
    """The most that one connection got."""


class Report(msgspec.Struct, frozen=True):
    """All that is measured."""

    paths: Mapping[str, Figures]
    memory: Mapping[str, int]
    """Bytes that Parley keeps for an idle connection of a user of its own."""
    python: str
    """The version of the language, such as 3.11."""


class Limit(NamedTuple):
    """How far from its budget a figure may be."""

    times: float
    plus: float = 0.0
    least: float = 1 / 1.5
    """Below so many times the budget, that is too high to guard anything."""


LIMITS: Mapping[str, Limit] = {
    "instructions": Limit(1.2),
    "calls": Limit(1.2),
    # What a node does once a second may fall into each round of a slow machine.
    "tasks": Limit(1.1, plus=0.1, least=0),
    # The only one that isn't the same on every run; and machines differ in it a little.
    "cpu": Limit(1.5, least=0),
    "writes": Limit(1.0),
    "memory": Limit(1.2),
}
_OTHER_PYTHON = 1.5
"""Another Python has other instructions and other objects: only large steps are steps then."""


def complaints(report: Report, budgets: Report) -> dict[str, str]:
    """What costs too much, and which budgets are too high: a name, and a sentence about it."""
    now, allowed = _flat(report), _flat(budgets)
    found = dict.fromkeys(now.keys() ^ allowed.keys(), "either has no budget, or isn't measured")
    same = report.python == budgets.python
    for name in now.keys() & allowed.keys():
        figure, budget = now[name], allowed[name]
        limit = LIMITS[name.rpartition(": ")[2]]
        times = limit.times if same else max(limit.times, _OTHER_PYTHON)
        if figure > (most := budget * times + limit.plus):
            found[name] = f"{figure:g} is more than {most:g}; the budget is {budget:g}"
        elif same and figure < budget * limit.least:
            found[name] = f"{figure:g} is far below the budget, {budget:g}: lower that"
    return found


def summary(reports: Sequence[Report]) -> Report:
    """What budgets are made of, from several reports of the same Python.

    The most that was counted, since hardly anything but chance makes it less; and the median of
    CPU time, since the highest comes from a moment in which the machine was slow, and would allow
    much more than the limit says.
    """
    paths = {
        path: Figures(
            **{
                kind: _typical(kind)([getattr(report.paths[path], kind) for report in reports])
                for kind in Figures.__struct_fields__
            }
        )
        for path in reports[0].paths
    }
    memory = {name: max(report.memory[name] for report in reports) for name in reports[0].memory}
    return Report(paths, memory, reports[0].python)


def _typical(kind: str) -> Callable[[Sequence[float]], Any]:
    return statistics.median if kind == "cpu" else max


def _flat(report: Report) -> dict[str, float]:
    figures = {
        f"{path}: {kind}": float(value)
        for path, costs in report.paths.items()
        for kind, value in msgspec.structs.asdict(costs).items()
    }
    return figures | {f"{name}: memory": float(size) for name, size in report.memory.items()}
