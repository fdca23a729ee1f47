"""How deep JSON is nested, found out without decoding it."""

from __future__ import annotations

import re
from typing import Final

_TOKENS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{\]}]', re.DOTALL)
"""Strings, in which brackets mean nothing; and brackets."""


def nests_deeper(json: bytes, limit: int) -> bool:
    """True if arrays and objects stand more than ``limit`` deep in one another.

    ``json`` may be anything; of what is no JSON the answer means nothing.
    """
    if json.count(b"[") + json.count(b"{") <= limit:
        return False
    depth = 0
    for token in _TOKENS.findall(json):
        if token in (b"[", b"{"):
            depth += 1
            if depth > limit:
                return True
        elif token in (b"]", b"}"):
            depth -= 1
    return False
