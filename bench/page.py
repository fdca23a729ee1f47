"""Puts tables into a page that people write: between marks, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_BLOCK: Final = re.compile(
    r"(<!-- bench:(?P<name>[a-z-]+) -->\n).*?(<!-- /bench:(?P=name) -->)", re.DOTALL
)


def fill(page: str, blocks: Mapping[str, str]) -> str:
    """The page with new blocks in place of the old; all else stays as it is.

    A block stands between the lines ``<!-- bench:NAME -->`` and ``<!-- /bench:NAME -->``.

    Raises:
        ValueError: the blocks of the page aren't those that are given.
    """
    marked = {found["name"] for found in _BLOCK.finditer(page)}
    if different := marked ^ blocks.keys():
        raise ValueError(f"not both on the page and given: {', '.join(sorted(different))}")
    # Blank lines, without which Markdown would take a table for text.
    return _BLOCK.sub(lambda found: f"{found[1]}\n{blocks[found['name']]}\n\n{found[3]}", page)
