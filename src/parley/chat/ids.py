"""UUIDs as text (RFC 9562): reading them, and making new ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

_UUID: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
)
_POOL_BYTES: Final = 4000
"""Random bytes fetched from the system at a time."""
_UUID_DIGITS: Final = 20
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def parse_uuid(text: str) -> str | None:
    """The canonical form (lower case, with hyphens) of a UUID; None if it isn't one."""
    return text.lower() if _UUID.fullmatch(text) else None


def uuid7(milliseconds: int) -> str:
    """A new version 7 UUID: the time in front, 74 random bits behind.

    Ids made in different milliseconds sort by time, so that a database's index
    on them grows at its end.  For one thread of one process that was not forked.
    """
    time = f"{milliseconds & 0xFFFFFFFFFFFF:012x}"
    digits = next(_random_digits)
    variant = _VARIANT[digits[3]]
    return f"{time[:8]}-{time[8:]}-7{digits[:3]}-{variant}{digits[4:7]}-{digits[7:19]}"


def _digits() -> Iterator[str]:
    while True:
        pool = os.urandom(_POOL_BYTES).hex()
        for start in range(0, len(pool), _UUID_DIGITS):
            yield pool[start : start + _UUID_DIGITS]


_random_digits: Final = _digits()
