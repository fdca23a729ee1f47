"""UUIDs as text (RFC 9562): reading them, and making new ones."""

from __future__ import annotations

import os
import re
from typing import Final

_UUID: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
)
_VERSION_7: Final = 0x7 << 76
_VARIANT: Final = 0b10 << 62
_RANDOM_A: Final = 0xFFF << 64
_RANDOM_B: Final = (1 << 62) - 1


def parse_uuid(text: str) -> str | None:
    """The canonical form (lower case, with hyphens) of a UUID; None if it isn't one."""
    return text.lower() if _UUID.fullmatch(text) else None


def uuid7(milliseconds: int) -> str:
    """A new version 7 UUID: the time in front, 74 random bits behind.

    Ids made in different milliseconds sort by time, so that a database's index
    on them grows at its end.
    """
    bits = int.from_bytes(os.urandom(10), "big")
    value = (
        (milliseconds & 0xFFFFFFFFFFFF) << 80
        | _VERSION_7
        | (bits & _RANDOM_A)
        | _VARIANT
        | (bits & _RANDOM_B)
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
