"""The documentation's pages, and the code that they show.

What is done with a block of code stands in a comment before it, which readers don't see:

- ``<!-- file: chat.py -->``: it is saved under that name, in the page's folder.
- ``<!-- run -->``: a terminal session.  Lines that begin with ``$ `` are commands, those after
  them that begin with ``> `` belong to them, and everything else is what they print.
  ``<!-- run: status 2 -->`` if the last command is to fail with it.
- ``<!-- run in background: port 3000 -->``: one command, which goes on until the page is over.
  The page goes on when something listens on that port.
- ``<!-- wire: alice -->``: packets on the WebSocket of a user; ``> `` is sent, ``< `` received.
- ``<!-- not run: why -->``.

``<!-- given: COMMAND -->`` stands alone: it makes what the reader has already.

Blocks in different tabs (``:::{tab-item} NAME``) are alternatives.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

DOCS: Final = Path(__file__).parents[2] / "docs"

RUNNABLE: Final = {"bash", "console", "js", "jsx", "kotlin", "python", "sh", "sql", "swift"}
"""Languages of blocks that must say what is done with them."""

_MARKER: Final = re.compile(r"<!-- (file|run|run in background|wire|not run)(?:: (.+))? -->")
_GIVEN: Final = re.compile(r"<!-- given: (.+) -->")
_FENCE: Final = re.compile(r"( *)(`{3,})(\S*)$")
_TAB: Final = re.compile(r":::\{tab-item\} (.+)")


class Block(NamedTuple):
    """A block of code."""

    page: str
    line: int
    language: str
    text: str
    action: str | None
    """What is done with it; None if the page doesn't say."""
    detail: str
    tab: str
    """The tab that it is in; empty if it is in none."""

    @property
    def where(self) -> str:
        return f"docs/{self.page}, line {self.line}"


def pages() -> list[str]:
    """All pages, as paths below ``docs/``."""
    return sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def text_of(page: str) -> str:
    """The source of a page."""
    return (DOCS / page).read_text("utf-8")


def blocks(page: str) -> list[Block]:
    """The blocks of code of a page, in order."""
    return list(_blocks(page, text_of(page).splitlines()))


def file_of(page: str, name: str) -> str:
    """What a page tells its reader to save under a name."""
    (text,) = [
        block.text for block in blocks(page) if (block.action, block.detail) == ("file", name)
    ]
    return text


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    numbered = iter(enumerate(lines, 1))
    action, detail, tab = None, "", ""
    for number, line in numbered:
        if marker := _MARKER.fullmatch(line.strip()):
            action, detail = marker[1], marker[2] or ""
            continue
        if given := _GIVEN.fullmatch(line):
            yield Block(page, number, "console", f"$ {given[1]}\n", "run", "", tab)
        elif fence := _FENCE.fullmatch(line):
            body = _until(fence[1] + fence[2], numbered)
            text = textwrap.dedent("".join(f"{each}\n" for each in body))
            yield Block(page, number, fence[3], text, action, detail, tab)
        elif named := _TAB.fullmatch(line):
            tab = named[1]
        elif line == ":::":
            tab = ""
        if line.strip():
            action, detail = None, ""


def _until(end: str, numbered: Iterator[tuple[int, str]]) -> Iterator[str]:
    for _, line in numbered:
        if line == end:
            return
        yield line
