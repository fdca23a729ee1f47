"""What went wrong, counted by kind."""

from __future__ import annotations

from collections import Counter
from typing import Final

_LONGEST: Final = 160
"""Characters of a kind of fault; texts that differ in the rest are one kind."""
_SHOWN: Final = 8
"""Kinds that are told."""


class Faults:
    """Counts whatever a server should not do; one for all clients of a process."""

    def __init__(self) -> None:
        self._counts = Counter[str]()

    @property
    def total(self) -> int:
        return self._counts.total()

    def count(self, what: str) -> None:
        """Note a fault."""
        self._counts[what[:_LONGEST]] += 1

    def most_common(self) -> dict[str, int]:
        """The most frequent kinds."""
        return dict(self._counts.most_common(_SHOWN))
