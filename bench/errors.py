"""What may go wrong without being a mistake."""

from __future__ import annotations


class CannotRun(Exception):
    """Something can't be measured here; its text says why, in a few words."""
