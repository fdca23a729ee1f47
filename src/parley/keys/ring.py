"""Keys that don't change while the server runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from parley.chat.ports import Key


class KeyRing:
    """Some keys.  Implements :class:`parley.chat.ports.Keys`."""

    fetched = failed = waiting = 0

    def __init__(self, keys: Iterable[Key]) -> None:
        """There is one at least."""
        self._keys = tuple(keys)
        self.algorithms = tuple(dict.fromkeys(key.algorithm for key in self._keys))

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        # Most have no name, so that what a token calls its key tells nothing.
        return fitting(self._keys, algorithm, kid)

    async def renew(self) -> bool:
        return False

    async def close(self) -> None:
        """There is nothing to release."""


def fitting(keys: Iterable[Key], algorithm: str, kid: str | None) -> Sequence[Key]:
    """Those that may have signed a token that names ``algorithm`` and ``kid``.

    Where either side says nothing of ``kid``, it decides nothing.
    """
    return [
        key
        for key in keys
        if key.algorithm == algorithm and (kid is None or key.kid is None or key.kid == kid)
    ]
