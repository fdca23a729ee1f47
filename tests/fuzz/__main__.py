"""Fuzzes Parley for a while, with new inputs in every round.

What fails is told with its input, and is tried first at the next run. Anything that is no option
below goes to pytest: `-k frames`, `tests/fuzz/test_frames.py`.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.fuzz.profile import FACTOR

_HANGS_AFTER: Final = 3_600
"""Seconds that one test may take, with all of its inputs."""


def main() -> int:
    """Run rounds until the time is over, or one fails; returns the exit status."""
    options, rest = _parser().parse_known_args()
    ends = time.monotonic() + options.minutes * 60
    rounds = 0
    while True:
        rounds += 1
        seed = secrets.randbits(32) if options.seed is None else options.seed
        _say(f"Round {rounds}, seed {seed}, {options.factor} times the usual inputs")
        status = _run(seed, options.factor, rest)
        if status:
            arguments = shlex.join(["--seed", str(seed), "--factor", str(options.factor), *rest])
            _say(f'It failed. The input is shown above. To replay: make fuzz ARGS="{arguments}"')
            return status
        if options.seed is not None or time.monotonic() >= ends:
            _say(f"Nothing failed in {rounds} round{'s' if rounds > 1 else ''}.")
            return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--minutes", type=float, default=10, help="begin rounds for so long (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, help="one round, with the inputs of the round that had this seed"
    )
    parser.add_argument(
        "--factor",
        type=int,
        default=5,
        help="how many times the inputs of `make test` a round tries (default: %(default)s)",
    )
    return parser


def _run(seed: int, factor: int, rest: list[str]) -> int:
    places = [] if any(Path(each.partition("::")[0]).exists() for each in rest) else ["tests/fuzz"]
    command = [sys.executable, "-m", "pytest", "--quiet", f"--timeout={_HANGS_AFTER}"]
    command += [f"--hypothesis-seed={seed}", *places, *rest]
    return subprocess.run(command, env={**os.environ, FACTOR: str(factor)}, check=False).returncode


def _say(text: str) -> None:
    sys.stdout.write(f"\n{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
