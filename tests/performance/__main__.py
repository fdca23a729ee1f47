"""Prints what the hot paths cost, beside their budgets."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator

import msgspec

from parley.serving import loop_factory
from tests.performance import budgets
from tests.performance.figures import Figures, Report, summary
from tests.performance.measure import measure
from tests.performance.nodes import running_servers

_PATIENCE = 120.0
"""Seconds."""
_RUNS_TO_SAVE = 3
_KINDS = Figures.__struct_fields__


def main() -> None:
    """Measure, and print or save it."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the figures alone, as JSON")
    form.add_argument(
        "--save",
        action="store_true",
        help="make the budgets what three runs show: the most that is counted, the median CPU time",
    )
    options = parser.parse_args()
    report = summary([_measured() for _ in range(_RUNS_TO_SAVE if options.save else 1)])
    if options.json:
        sys.stdout.write(msgspec.json.encode(report).decode())
        return
    sys.stdout.write("\n".join(_table(report, budgets.load())) + "\n")
    if options.save:
        budgets.save(report)


def _measured() -> Report:
    with running_servers() as servers, asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(asyncio.wait_for(measure(servers), _PATIENCE))


def _table(report: Report, allowed: Report) -> Iterator[str]:
    yield "Each figure, and its budget. For each message or connection: instructions of Python's"
    yield "virtual machine, calls of C functions, tasks, CPU time in steps of the reference loop."
    yield "For a whole round: writes to one connection.\n"
    yield f"{'':32}" + "".join(f"{kind:>20}" for kind in _KINDS)
    for path, costs in report.paths.items():
        budget = allowed.paths.get(path)
        yield f"{path:32}" + "".join(
            f"{_pair(getattr(costs, kind), getattr(budget, kind, None)):>20}" for kind in _KINDS
        )
    yield "\nBytes that Parley keeps for a connection:\n"
    for name, size in report.memory.items():
        yield f"{name:32}{_pair(size, allowed.memory.get(name)):>20}"


def _pair(figure: float, budget: float | None) -> str:
    return f"{figure:g} / {'-' if budget is None else f'{budget:g}'}"


if __name__ == "__main__":
    main()
