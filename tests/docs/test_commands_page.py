"""The page of commands names all of them."""

from __future__ import annotations

import re
import subprocess
import sys

from .pages import text_of


def test_every_command_is_on_the_page() -> None:
    command = [sys.executable, "-m", "parley", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    there = re.findall(r"^    (\w+) ", shown.partition("\ncommands:\n")[2], re.MULTILINE)
    assert {"dev", "start"} <= set(there)
    named = re.findall(r"^\| `parley (\w+)", text_of("commands.md"), re.MULTILINE)
    assert set(there) <= set(named)
