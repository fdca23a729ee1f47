"""How fast clients can connect, and what it costs."""

from __future__ import annotations

import asyncio
import time

from .client import PATH, PATIENCE, Client, failure
from .faults import Faults
from .latency import Durations
from .options import ConnectsOptions
from .report import ConnectsReport
from .upgrade import UpgradingClient
from .usage import Window, count_ended, memory
from .users import User, make_users


async def run(options: ConnectsOptions) -> ConnectsReport:
    """One run.  Every connection is closed as soon as it is complete."""
    site, faults, durations = options.site, Faults(), Durations()
    users = iter(enumerate(make_users(site.secret, site.seed, options.connects)))

    async def visit_one_by_one() -> None:
        for number, user in users:
            url = site.urls[number % len(site.urls)]
            try:
                durations.add(await _visit(user, url, options, faults))
            except Exception as error:  # whatever it is, this client did not get in
                faults.count(failure(error))

    window = Window(site.groups)
    await asyncio.gather(*(visit_one_by_one() for _ in range(site.connecting)))
    window.close()
    count_ended(site.groups, faults)
    return ConnectsReport(
        connections=len(durations),
        errors=faults.total,
        problems=faults.most_common(),
        usage=window.usage(len(durations)),
        memory_bytes=memory(site.groups),
        transport=options.transport,
        seconds=round(window.seconds, 3),
        connects_per_s=round(len(durations) / window.seconds, 1),
        latency=durations.latency(),
    )


async def _visit(user: User, url: str, options: ConnectsOptions, faults: Faults) -> int:
    """Connect and leave; how long connecting took, in nanoseconds."""
    began = time.monotonic_ns()
    client: Client | UpgradingClient
    if options.transport == "upgrade":
        client = UpgradingClient(user, url, keep_alive=options.keep_alive)
        await client.open()
    else:
        client = Client(user, faults)
        await client.open(f"{url}{PATH}&transport=websocket")
    took = time.monotonic_ns() - began
    async with asyncio.timeout(PATIENCE):
        await client.close()
    return took
