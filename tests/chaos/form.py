"""How long each fault is tried."""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from tests.e2e.server import PATIENCE


class Form(NamedTuple):
    """Bounds of each test, in number and time."""

    rounds: int
    """How often the fault happens in one test."""
    calm: float
    """Seconds of load before the first fault, after the last one, and between two."""
    fault: float
    """Seconds that a fault lasts which has a length."""
    burst: int
    """Messages that those send at once who don't wait for acknowledgements."""
    patience: float
    """Seconds after which a load that doesn't flow again is a failure."""


SHORT: Final = Form(rounds=1, calm=0.3, fault=1.0, burst=10, patience=6 * PATIENCE)
LONG: Final = Form(rounds=8, calm=1.5, fault=4.0, burst=30, patience=9 * PATIENCE)

IS_LONG: Final = os.environ.get("PARLEY_CHAOS") == "long"
FORM: Final = LONG if IS_LONG else SHORT
