"""Soaks real servers: one process on SQLite, then two nodes on PostgreSQL and Redis."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from tests.cluster import nodes
from tests.cluster.nodes import Cluster
from tests.e2e.server import ChatServer, Entrance, running
from tests.services.postgres import Installation
from tests.services.valkey import ValkeyServer
from tests.services.valkey import running as running_valkey
from tests.soak.looking import Look, Sample
from tests.soak.soaking import SETTINGS, SQLITE_MEMORY, Plan, Report, check, soak

OUTPUT: Final = Path("build/soak")
_MB: Final = 2**20


def main() -> None:
    """Soak, check, and keep what was seen in ``build/soak``."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="both take together (600)")
    parser.add_argument("--people", type=int, default=12, help="clients at a time (12)")
    parser.add_argument("--seed", type=int, default=1, help="what they do follows from it (1)")
    parser.add_argument("--on", choices=("both", "sqlite", "cluster"), default="both")
    options = parser.parse_args()
    stages = ("sqlite", "cluster") if options.on == "both" else (options.on,)
    plan = Plan(options.seconds / len(stages), options.people, options.seed)
    for stage in stages:
        _say(f"{stage}: {plan.people} people for {plan.seconds:.0f} s")
        with tempfile.TemporaryDirectory(prefix="parley-soak-") as folder:
            run, cache = (_on_sqlite, SQLITE_MEMORY) if stage == "sqlite" else (_on_a_cluster, 0)
            report = run(plan, Path(folder))
        OUTPUT.mkdir(parents=True, exist_ok=True)
        (OUTPUT / f"{stage}.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
        _summarise(report)
        check(report, cache)
    _say(f"all as it was before; the samples are in {OUTPUT}")


def _on_sqlite(plan: Plan, folder: Path) -> Report:
    with running(ChatServer(folder, SETTINGS)) as server:
        return _soaked(plan, [server], [server])


def _on_a_cluster(plan: Plan, folder: Path) -> Report:
    with (
        tempfile.TemporaryDirectory(prefix="parley-postgres-") as data,
        Installation(Path(data)).server() as postgres,
        running_valkey(ValkeyServer(folder / "valkey")) as valkey,
        postgres.temporary_database() as database,
    ):
        settings = {**postgres.environment(database), **valkey.environment(), **SETTINGS}
        with nodes.running(Cluster(folder, settings)) as cluster:
            before = valkey.ask("PUBSUB", "CHANNELS")
            report = _soaked(plan, [cluster, *cluster.nodes], cluster.nodes)
            assert valkey.ask("PUBSUB", "CHANNELS") == before, "subscriptions stay behind"
            return report


def _soaked(plan: Plan, entrances: Sequence[Entrance], servers: Sequence[ChatServer]) -> Report:
    return asyncio.run(soak(plan, entrances, servers, _tell))


def _tell(sample: Sample) -> None:
    parts = [f"{_memory(each)}, {each.tables['sessions']} sessions" for each in sample.servers]
    _say(f"{sample.seconds:6.0f} s: " + "; ".join(parts))


def _summarise(report: Report) -> None:
    _say(f"{sum(report.visits.values())} visits, {report.sent} messages: {report.visits}")
    for warm, after in zip(report.warm, report.after, strict=True):
        _say(
            f"warm: {_memory(warm)}, {warm.files} files, {warm.tasks} tasks; "
            f"after: {_memory(after)}, {after.files} files, {after.tasks} tasks; "
            f"incidents: { ({kind: n for kind, n in after.incidents.items() if n}) }"
        )


def _memory(look: Look) -> str:
    return f"{look.memory / _MB:.1f} MB"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
