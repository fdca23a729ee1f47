"""The network between clients and nodes is slow, or loses connections without a word."""

from __future__ import annotations

import asyncio

from tests.e2e.server import wait_until

from .crowd import WEBSOCKETS, Crowd
from .form import FORM
from .ordeal import Ordeal
from .site import Site, aside

BYTES, SECONDS = 600, 0.02
"""30 KB per second, for each connection and direction."""


async def test_when_the_network_is_slow(site: Site, ordeal: Ordeal) -> None:
    line = site.gate.proxy

    async def be_slow(crowd: Crowd) -> None:
        await aside(lambda: line.slow_down(BYTES, SECONDS))
        await asyncio.sleep(FORM.fault)
        await aside(line.speed_up)

    crowd = await ordeal.undergo(be_slow, entrances=(site.gate, site.nodes[-1]))
    assert all(reader.device.undisturbed for reader in crowd.at(site.nodes[-1]))


async def test_when_connections_are_half_open(site: Site, ordeal: Ordeal) -> None:
    async def forget(crowd: Crowd) -> None:
        await aside(site.gate.proxy.forget)

    # No polling: Python's client waits for ever for the rest of an answer.
    ways = (site.gate, site.nodes[-1])
    crowd = await ordeal.undergo(forget, entrances=ways, transports=WEBSOCKETS)
    assert all(reader.device.undisturbed for reader in crowd.at(site.nodes[-1]))
    assert not any(reader.device.undisturbed for reader in crowd.at(site.gate))
    # The nodes have found out, too: they hold no session of which nobody knows.
    there = len(crowd.readers) + len(crowd.writers)
    await aside(
        lambda: wait_until(
            lambda: sum(node.metrics()["parley_connections"] for node in site.nodes) == there,
            lambda: f"the nodes hold other sessions than the {there} that there are",
        )
    )
