"""How much the tests here try.

In an ordinary run each has a fixed number of inputs, which are the same at every run and on every
machine.  ``python -m tests.fuzz`` multiplies the number, and makes up new inputs for every round.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

FACTOR: Final = "PARLEY_FUZZ_FACTOR"
"""The variable that says by how much the numbers are multiplied; absent in an ordinary run."""

_ALWAYS: Final = settings(
    # A machine may be slow; pytest's own timeout ends what hangs.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    print_blob=True,
)
_SAME: Final = settings(_ALWAYS, derandomize=True, database=None)
# With its database: what failed is tried first when it is run again.
_ANEW: Final = settings(_ALWAYS, derandomize=False)


def budget(examples: int) -> settings:
    """The settings of a test that tries so many inputs in an ordinary run."""
    factor = int(os.environ.get(FACTOR, "0"))
    return settings(_ANEW if factor else _SAME, max_examples=examples * max(factor, 1))
