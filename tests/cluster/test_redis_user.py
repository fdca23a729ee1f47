"""Parley with a Redis user that may do what docs/operations.md says: enough, and not too much."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.clients import Device, Devices
from tests.e2e.server import new_user, wait_until
from tests.services.command import parley
from tests.services.valkey import ValkeyCluster, ValkeyServer

from .conftest import StartCluster
from .conversation import converse, see_the_same

PAGE = (Path(__file__).parents[2] / "docs/operations.md").read_text()
SECRET = "correct-horse"
USER = {"username": "parley", "password": SECRET, "prefix": "parley:"}


def rules(name: str) -> list[str]:
    """What the page has operators write."""
    line = re.search(rf"^ *{name} (.*)$", PAGE, re.MULTILINE)
    assert line
    return line[1].replace("SECRET", SECRET).split()


def commands(allowed: Sequence[str]) -> set[str]:
    return {rule[1:].replace("|", " ") for rule in allowed if rule.startswith("+")}


ALONE = rules("ACL SETUSER parley on")
IN_CLUSTERS = rules(r"ACL SETUSER parley(?= \+)")


async def lives(start_cluster: StartCluster, devices: Devices, settings: Mapping[str, str]) -> None:
    """Nodes do all that they do with Redis, from their start to their end."""
    cluster = await asyncio.to_thread(start_cluster, nodes=2, **settings)
    user = new_user()
    bobs = [await devices.connect(node, user) for node in cluster.nodes]
    anns = [await devices.connect(node) for node in cluster.nodes]
    await see_the_same(bobs, await converse(anns, user, 20))
    await knows(cluster.settings, bobs[0])
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
    """The commands that anybody used."""
    names = {name for node in nodes for name in node.ask("INFO", "commandstats")}
    return {name.removeprefix("cmdstat_").replace("|", " ") for name in names}


async def test_a_single_server(
    own_valkey: ValkeyServer, start_cluster: StartCluster, devices: Devices
) -> None:
    own_valkey.ask("ACL", "SETUSER", "parley", "on", *ALONE)
    await lives(start_cluster, devices, own_valkey.environment(database=1, **USER))
    assert refused(own_valkey) == []
    assert commands(ALONE) - used(own_valkey) == set()


async def test_a_cluster(
    own_cluster: ValkeyCluster, start_cluster: StartCluster, devices: Devices
) -> None:
    for node in own_cluster.nodes:
        node.ask("ACL", "SETUSER", "parley", "on", *ALONE)
        node.ask("ACL", "SETUSER", "parley", *IN_CLUSTERS)
    await lives(start_cluster, devices, own_cluster.environment(**USER))
    assert [refused(node) for node in own_cluster.nodes] == [[], [], []]
    assert commands(IN_CLUSTERS) - used(*own_cluster.nodes) == set()
