"""Everything that can happen to a cluster, at random; in the long form only."""

from __future__ import annotations

import random

import pytest

from .crowd import Crowd
from .faults import FAULTS
from .form import FORM
from .ordeal import Ordeal
from .site import Site


@pytest.mark.parametrize("seed", range(3))
async def test_when_one_fault_follows_another(site: Site, ordeal: Ordeal, seed: int) -> None:
    chosen = random.Random(seed).choices(list(FAULTS.values()), k=FORM.rounds)  # noqa: S311 - repeatable
    faults = iter(chosen)

    async def something(crowd: Crowd) -> None:
        await next(faults).happen(site, crowd)

    await ordeal.undergo(something)
