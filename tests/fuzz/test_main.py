"""``make fuzz`` says what failed, and how to have it fail again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLAWED = """
from hypothesis import given, strategies as st
from tests.fuzz.profile import budget

@budget(300)
@given(st.integers())
def test_flawed(number: int) -> None:
    assert number < 1000
"""


def fuzz(*arguments: str) -> tuple[int, str]:
    """The exit status and the output of a run."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_failure_is_told_with_its_input_and_can_be_replayed(tmp_path: Path) -> None:
    flawed = tmp_path / "test_flawed.py"
    flawed.write_text(FLAWED)
    status, output = fuzz("--minutes", "1", "--factor", "1", str(flawed))
    assert status == 1
    assert "number=1000," in output, output
    replay = re.search(r'make fuzz ARGS="--seed (\d+) --factor 1 (.*)"', output)
    assert replay, output
    status, again = fuzz("--seed", replay[1], "--factor", "1", *replay[2].split())
    assert status == 1
    assert "number=1000," in again, again


def test_a_run_without_a_failure_says_so(tmp_path: Path) -> None:
    sound = tmp_path / "test_sound.py"
    sound.write_text(FLAWED.replace("< 1000", "!= 0.5"))
    status, output = fuzz("--minutes", "0", "--factor", "1", str(sound))
    assert status == 0, output
    assert "Nothing failed in 1 round." in output
