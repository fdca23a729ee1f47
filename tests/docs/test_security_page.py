"""The page on security names tests that exist, and says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import text_of

ROOT = Path(__file__).parents[2]
PAGE = text_of("security.md")


def named() -> list[str]:
    """The tests in the last column of the threat model."""
    model = PAGE.partition("\n## The threat model\n")[2].partition("\n## ")[0]
    cells = [line.rstrip(" |").rpartition("|")[2] for line in model.splitlines() if "`" in line]
    return [name for cell in cells for name in re.findall(r"`([\w./]+)`", cell)]


@pytest.mark.parametrize("name", sorted({*named()}))
def test_tests_that_are_named_exist(name: str) -> None:
    assert (ROOT / "tests" / name).exists()


def test_every_line_of_the_threat_model_names_a_test() -> None:
    model = PAGE.partition("\n## The threat model\n")[2].partition("\n## ")[0]
    lines = [line for line in model.splitlines() if line.startswith("|")][2:]
    assert len(lines) > 10
    assert all(re.search(r"`[\w/]+(?:/|\.py)` \|$", line) for line in lines), lines


def test_files_that_it_names_exist() -> None:
    files = re.findall(r"`((?:deploy/[\w.-]+)|Dockerfile|Makefile)`", PAGE)
    assert files
    assert all((ROOT / file).exists() for file in files)


def test_those_who_report_a_hole_find_it() -> None:
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
