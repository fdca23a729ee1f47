"""What the pages show is what happens."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from .pages import RUNNABLE, Block, blocks, pages
from .session import Session

RUN = ("run", "run in background")
PROGRAMS = ("curl", "node")
"""What pages call that isn't everywhere."""
WITH_POSTGRES = {"howto/migrate-from-nestjs.md"}
"""Pages whose reader has a PostgreSQL server, and settings that name it."""


def variants() -> list[tuple[str, str]]:
    """The pages that have something to run, each with each of its tabs."""
    found = []
    for page in pages():
        tabs = {block.tab for block in blocks(page) if block.action in RUN}
        found += [(page, tab) for tab in sorted(tabs - {""}) or ([""] if tabs else [])]
    return found


def test_pages_were_found() -> None:
    assert {page for page, _ in variants()} >= {"tutorial.md", "howto/python.md"}


@pytest.mark.parametrize("page", pages())
def test_code_says_what_is_done_with_it(page: str) -> None:
    silent = [
        block.where for block in blocks(page) if block.language in RUNNABLE and block.action is None
    ]
    assert not silent, "Say `run`, `file` or `not run` before each; see tests/docs/pages.py"


@pytest.mark.parametrize(("page", "tab"), variants())
def test_what_a_page_shows_is_what_happens(
    page: str, tab: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    shown = [block for block in blocks(page) if block.tab in ("", tab)]
    _skip_without_programs(shown)
    fixture = "postgres_environment" if page in WITH_POSTGRES else "environment"
    session = Session(tmp_path, request.getfixturevalue(fixture))
    if _calls(shown, "node"):
        packages: Path = request.getfixturevalue("node_packages")
        (session.work / "node_modules").symlink_to(packages)
    try:
        for block in shown:
            session.carry_out(block)
    finally:
        session.close()


def _calls(shown: list[Block], program: str) -> bool:
    """Whether a program is called by something that is run."""
    return any(
        re.search(rf"(^|[ (]){program} ", block.text, re.MULTILINE)
        for block in shown
        if block.action in RUN
    )


def _skip_without_programs(shown: list[Block]) -> None:
    missing = [name for name in PROGRAMS if _calls(shown, name) and shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)}: not installed here")
