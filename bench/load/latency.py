"""Durations, and their percentiles."""

from __future__ import annotations

from array import array

from .report import Latency

_NS_PER_MS = 1e6


class Durations:
    """Durations in nanoseconds, eight bytes each."""

    def __init__(self) -> None:
        self._all = array("q")
        self.add = self._all.append

    def __len__(self) -> int:
        return len(self._all)

    def latency(self) -> Latency:
        """Their percentiles."""
        ordered = sorted(self._all)
        return Latency(*(_percentile(ordered, share) for share in (0.5, 0.99, 0.999)))


def _percentile(ordered: list[int], share: float) -> float | None:
    """The duration below which ``share`` of all are."""
    if not ordered:
        return None
    return round(ordered[int(len(ordered) * share)] / _NS_PER_MS, 3)
