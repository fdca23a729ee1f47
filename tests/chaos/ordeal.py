"""One fault while people write: what goes on around it, and what it took to recover."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.e2e.clients import Devices
from tests.e2e.server import Entrance

from .crowd import ALL, Counts, Crowd, Transports
from .evidence import check_device, check_store
from .form import FORM
from .site import Place, aside

_FOLDER: Final = Path(__file__).parents[2] / "build" / "chaos"


class Report(NamedTuple):
    """How it went."""

    fault: str
    recovered_after: list[float]
    """Seconds, for each time that the fault happened."""
    counts: Counts
    stored: int

    def save(self) -> None:
        """Write it to a file, for programs."""
        _FOLDER.mkdir(parents=True, exist_ok=True)
        content = {**self._asdict(), "counts": self.counts._asdict()}
        (_FOLDER / f"{self.fault}.json").write_text(json.dumps(content, indent=2) + "\n")

    def __str__(self) -> str:
        times = ", ".join(f"{seconds:.2f}" for seconds in self.recovered_after)
        counts = self.counts
        return (
            f"{self.fault}: {times} s. Sent {counts.sent}, acknowledged {counts.acknowledged}, "
            f"stored {self.stored}; {counts.stayed} of {counts.devices} devices stayed connected"
        )


reports: Final[list[Report]] = []
"""Of this test session."""


class Ordeal:
    """What a place goes through in one test."""

    def __init__(self, name: str, place: Place, devices: Devices) -> None:
        self._name = name
        self._place = place
        self._devices = devices
        self._recoveries: list[float] = []

    async def undergo(
        self,
        fault: Callable[[Crowd], Awaitable[None]],
        entrances: Sequence[Entrance] | None = None,
        transports: Transports = ALL,
    ) -> Crowd:
        """Have a crowd write at the place, and ``fault`` happen; then check all that must hold.

        From when ``fault`` returns, it is measured how long it takes until everybody's messages are
        acknowledged and shown again.  ``entrances``: instead of the place's.
        """
        ways = entrances or self._place.entrances
        crowd = await Crowd.gather(ways, self._place.others, transports, self._devices)
        try:
            await crowd.flows()
            for _ in range(FORM.rounds):
                await asyncio.sleep(FORM.calm)
                await fault(crowd)
                await self._recover(crowd)
            await asyncio.sleep(FORM.calm)
            await aside(self._place.heal)
            await crowd.stop()
            inboxes = await asyncio.to_thread(self._place.inboxes, crowd.users)
            check_store(crowd.records, inboxes)
            for reader in crowd.readers:
                check_device(await crowd.seen(reader, inboxes), inboxes[reader.device.user])
            await aside(self._place.audit)
        finally:
            await crowd.abandon()
        stored = sum(map(len, inboxes.values()))
        report = Report(self._name, self._recoveries, crowd.count(), stored)
        report.save()
        reports.append(report)
        return crowd

    async def _recover(self, crowd: Crowd) -> None:
        since = asyncio.get_running_loop().time()
        await crowd.flows(since)
        self._recoveries.append(round(asyncio.get_running_loop().time() - since, 2))
