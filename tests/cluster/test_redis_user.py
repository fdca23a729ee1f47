"""Parley with a Redis user that may do what docs/operations.md says: enough, and not too much."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.clients import Device, Devices
from tests.e2e.kicks import kick
from tests.e2e.server import new_user, wait_until
from tests.services.command import parley
from tests.services.valkey import ValkeyCluster, ValkeyServer

from .conftest import StartCluster
from .conversation import converse, see_the_same

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text()
SECRET = "correct-horse"
USER = {"username": "parley", "password": SECRET, "prefix": "parley:"}


ALONE, IN_CLUSTERS = (
    line.replace("SECRET", SECRET).split()
    for line in re.findall(r"^ *ACL SETUSER parley on (.*)$", PAGE, re.MULTILINE)
)
"""What the page has operators write, for a single server and for a cluster's."""


def admit(node: ValkeyServer, rules: Sequence[str]) -> None:
    """Make the user, and count the commands from now on."""
    node.ask("ACL", "SETUSER", USER["username"], "on", *rules)
    node.ask("CONFIG", "RESETSTAT")


def commands(rules: Sequence[str]) -> set[str]:
    """What they allow."""
    return {rule[1:].replace("|", " ") for rule in rules if rule.startswith("+")}


async def lives(start_cluster: StartCluster, devices: Devices, settings: Mapping[str, str]) -> None:
    """Nodes do all that they do with Redis, from their start to their end."""
    cluster = await asyncio.to_thread(start_cluster, nodes=2, **settings)
    user = new_user()
    bobs = [await devices.connect(node, user) for node in cluster.nodes]
    anns = [await devices.connect(node) for node in cluster.nodes]
    await see_the_same(bobs, await converse(anns, user, 20))
    await knows(cluster.settings, bobs[0])
    await asyncio.to_thread(kick, cluster.nodes[0], user)
    for device in bobs:
        await device.wait("disconnect")
    for device in (*bobs, *anns):
        await device.disconnect()
    await asyncio.to_thread(wait_until, lambda: nobody_is_connected(cluster.settings), str)
    await asyncio.to_thread(cluster.stop)


async def knows(settings: Mapping[str, str], device: Device) -> None:
    """`parley who` sees all, and one."""

    def seen() -> bool:
        one = parley(settings, "who", "--user", device.user)
        return device.user in one.stdout and device.user in parley(settings, "who").stdout

    await asyncio.to_thread(wait_until, seen, lambda: "nobody is known to be connected")


def nobody_is_connected(settings: Mapping[str, str]) -> bool:
    return parley(settings, "who").stderr.strip() == "0 connected"


def refused(node: ValkeyServer) -> list[object]:
    """What the user asked for and may not do."""
    log: list[object] = node.ask("ACL", "LOG")
    return log


def used(*nodes: ValkeyServer) -> set[str]:
    """The commands that were used since the user was made."""
    names = {name for node in nodes for name in node.ask("INFO", "commandstats")}
    return {name.removeprefix("cmdstat_").replace("|", " ") for name in names}


async def test_a_single_server(
    own_valkey: ValkeyServer, start_cluster: StartCluster, devices: Devices
) -> None:
    admit(own_valkey, ALONE)
    await lives(start_cluster, devices, own_valkey.environment(database=1, **USER))
    assert refused(own_valkey) == []
    assert commands(ALONE) - used(own_valkey) == set()


async def test_a_cluster(
    own_cluster: ValkeyCluster, start_cluster: StartCluster, devices: Devices
) -> None:
    for node in own_cluster.nodes:
        admit(node, IN_CLUSTERS)
    await lives(start_cluster, devices, own_cluster.environment(**USER))
    assert [refused(node) for node in own_cluster.nodes] == [[], [], []]
    assert commands(IN_CLUSTERS) - used(*own_cluster.nodes) == set()
