"""The command ``parley``, as an operator runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping


def parley(
    settings: Mapping[str, str], *words: str, patience: float = 30.0
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with the settings of a server; at most ``patience`` seconds."""
    return subprocess.run(
        [sys.executable, "-m", "parley", *words],
        env={**os.environ, "JWT_SECRET_KEY": "x" * 32, **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience,
    )
