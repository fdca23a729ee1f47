"""A Redis that loses, repeats and reorders, or that isn't there: no device notices."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.e2e.clients import Devices
from tests.services.postgres import Postgres
from tests.services.proxy import Tricks

from .conftest import FEW
from .site import Friends, Site, running

StartSite: TypeAlias = Callable[..., Site]

TRICKS = {
    "it loses some": Tricks(seed=1, drop=0.3, double=0, delay=0),
    "it repeats some": Tricks(seed=2, drop=0, double=0.3, delay=0),
    "it reorders some": Tricks(seed=3, drop=0, double=0, delay=0.3),
    "it does all of that": Tricks(seed=4, drop=0.2, double=0.2, delay=0.2),
    "it loses everything": Tricks(seed=5, drop=1, double=0, delay=0),
}


@pytest.fixture
def start_site(postgres: Postgres, tmp_path: Path) -> Iterator[StartSite]:
    """Starts a cluster whose Redis is at the test's mercy: ``start_site(tricks)``."""
    with ExitStack() as stack:

        def start(tricks: Tricks | None = None) -> Site:
            database = stack.enter_context(postgres.temporary_database())
            # Seconds; what was lost and nothing follows is found after that.
            settings = {**postgres.environment(database), **FEW, "INBOX_CHECK_INTERVAL": "0.5"}
            return stack.enter_context(running(tmp_path, settings, tricks))

        yield start


@pytest.fixture
def site(start_site: StartSite) -> Site:
    """One whose proxy does no harm until it is told to."""
    return start_site()


@pytest.mark.parametrize("tricks", TRICKS.values(), ids=TRICKS)
async def test_delivery_is_exact_whatever_redis_does_to_messages(
    start_site: StartSite, devices: Devices, tricks: Tricks
) -> None:
    site = start_site(tricks)
    friends = await Friends.connect(site.cluster, devices)
    for _ in range(3):
        await friends.write()
        await friends.see_all()  # also the last ones, which nothing follows
    assert site.proxy.played > 0


async def test_redis_may_die_and_be_started_again(site: Site, devices: Devices) -> None:
    friends = await Friends.connect(site.cluster, devices)
    writing = asyncio.create_task(friends.write())
    await asyncio.to_thread(site.valkey.kill)
    await writing
    await friends.see_all()
    await site.until_redis_is(there=False)
    await friends.write()
    await friends.see_all()

    writing = asyncio.create_task(friends.write())
    await asyncio.to_thread(site.valkey.start)
    await writing
    await friends.see_all()
    await site.until_redis_is(there=True)
    await friends.write()
    await friends.see_all()


async def test_redis_may_hang_for_seconds(site: Site, devices: Devices) -> None:
    friends = await Friends.connect(site.cluster, devices)
    site.proxy.pause()
    await friends.write()
    await site.until_redis_is(there=False)
    await friends.see_all()
    await friends.write()
    site.proxy.resume()
    await site.until_redis_is(there=True)
    await friends.see_all()
    await friends.write()
    await friends.see_all()


async def test_redis_may_hang_for_a_moment(site: Site, devices: Devices) -> None:
    friends = await Friends.connect(site.cluster, devices)
    for _ in range(3):
        site.proxy.pause()
        await friends.write()
        site.proxy.resume()
    await friends.see_all()


async def test_connections_to_redis_may_be_cut(site: Site, devices: Devices) -> None:
    friends = await Friends.connect(site.cluster, devices)
    for _ in range(5):
        writing = asyncio.create_task(friends.write())
        site.proxy.cut()
        await writing
    await friends.see_all()
    await site.until_redis_is(there=True)
    await friends.write()
    await friends.see_all()


async def test_devices_may_come_while_redis_is_away(site: Site, devices: Devices) -> None:
    await asyncio.to_thread(site.valkey.kill)
    await site.until_redis_is(there=False)
    friends = await Friends.connect(site.cluster, devices)
    await friends.write()
    await friends.see_all()
    await asyncio.to_thread(site.valkey.start)
    await site.until_redis_is(there=True)
    await friends.write()
    await friends.see_all()


async def test_without_redis_a_node_is_ready_but_says_what_is_missing(site: Site) -> None:
    node = site.cluster.nodes[0]
    await asyncio.to_thread(site.valkey.kill)
    await site.until_redis_is(there=False)
    status, body = await asyncio.to_thread(node.get, "/readyz")
    expected = {"status": "degraded", "store": True, "bus": False, "accepting": True}
    assert (status, json.loads(body)) == (200, expected)
    await asyncio.to_thread(site.valkey.start)
    await site.until_redis_is(there=True)
    status, body = await asyncio.to_thread(node.get, "/readyz")
    assert (status, json.loads(body)["status"]) == (200, "ready")
