"""UUIDs as text (RFC 9562): reading them, and making new ones."""

from __future__ import annotations

import os
import re
from typing import Final

_UUID: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
)

_DIGITS: Final = 18
"""Hexadecimal ones, of random bits, for an id."""


def parse_uuid(text: str) -> str | None:
    """The canonical form (lower case, with hyphens) of a UUID; None if it isn't one."""
    return text.lower() if _UUID.fullmatch(text) else None


class Uuid7:
    """Makes version 7 UUIDs (RFC 9562, section 5.7): the time in front, random bits behind.

    Those that one maker makes in the same millisecond go up by one from a
    random place (section 6.2, method 2), those of later ones are greater: a
    database's index on them grows at its end.  They can be guessed, and nothing
    may depend on that they can't.  For one thread of one process.
    """

    __slots__ = ("_last", "_milliseconds", "_prefix", "_random")

    def __init__(self) -> None:
        self._milliseconds: int | None = None
        """Those of the last one."""
        self._prefix = ""
        """All but the last 48 bits."""
        self._last = 0
        """The last 48 bits of the last one."""
        self._random = ""
        """Hexadecimal digits; asking the system for each id's own costs more than all the rest."""

    def __call__(self, milliseconds: int) -> str:
        """A new one; ``milliseconds`` since the Unix epoch."""
        if milliseconds != self._milliseconds:
            self._milliseconds = milliseconds
            time = f"{milliseconds & 0xFFFFFFFFFFFF:012x}"
            if not self._random:
                self._random = os.urandom(_DIGITS // 2 * 64).hex()
            digits, self._random = self._random[:_DIGITS], self._random[_DIGITS:]
            self._prefix = f"{time[:8]}-{time[8:]}-7{digits[:3]}-8{digits[3:6]}-"
            # Half of the range is left for those that follow.
            self._last = int(digits[6:], 16) >> 1
        self._last += 1
        return "%s%012x" % (self._prefix, self._last)  # noqa: UP031  (faster than an f-string)
