"""Nodes, PostgreSQL and Redis: each breaks while people write, and nothing is lost by it."""

from __future__ import annotations

import pytest

from tests.cluster.conversation import Reader

from .crowd import Crowd
from .faults import FAULTS, Fault
from .ordeal import Ordeal
from .site import Site


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_when(site: Site, ordeal: Ordeal, fault: Fault) -> None:
    crowd = await ordeal.undergo(lambda crowd: fault.happen(site, crowd))
    for reader in who_stays(site, crowd, fault):
        assert reader.device.undisturbed


def who_stays(site: Site, crowd: Crowd, fault: Fault) -> list[Reader]:
    """The devices that a fault must leave connected."""
    match fault.stays:
        case "all":
            return crowd.readers
        case "directly":
            return [
                reader for place in (site.nodes[0], site.nodes[-1]) for reader in crowd.at(place)
            ]
        case "another":
            return crowd.at(site.nodes[-1])
        case "none":
            return []
