"""Names for users: what a server knows of them is an id."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from uuid import UUID

from parley.model import UserId
from parley.terminal.errors import ClientError

_SHORT: Final = 8
"""Characters of an id that stand for it, where they tell it from the others."""


class People:
    """Those who have a name here, and those who were met."""

    def __init__(self, names: Mapping[str, UserId]) -> None:
        """``names`` in lower case."""
        self._ids = dict(names)
        self._names = {user: name for name, user in names.items()}
        self._met: dict[UserId, None] = dict.fromkeys(names.values())

    def __iter__(self) -> Iterator[UserId]:
        return iter(self._met)

    @property
    def names(self) -> list[str]:
        """What may be written for each of them."""
        return [self.name(user) for user in self]

    def meet(self, user: UserId) -> None:
        """Know this one from now on."""
        self._met[user] = None

    def name(self, user: UserId) -> str:
        """A name; or the beginning of the id; or all of it, if others begin alike."""
        if user in self._names:
            return self._names[user]
        return user[:_SHORT] if len(self._beginning(user[:_SHORT])) <= 1 else user

    def find(self, text: str) -> UserId:
        """Who is meant by a name, an id, or the beginning of the id of somebody who was met.

        Raises:
            ClientError: nobody, or several.
        """
        name = text.strip().lower()
        if name in self._ids:
            return self._ids[name]
        try:
            return UserId(str(UUID(name)))
        except ValueError:
            found = self._beginning(name) if name else []
        if len(found) == 1:
            return found[0]
        if found:
            raise ClientError(f"{text!r} could be any of {', '.join(found)}: write more of the id.")
        known = f"one of {', '.join(self.names)}, or " if self._met else ""
        where = (
            "" if self._ids else " Names are those of `parley dev`, in its data folder (--data)."
        )
        raise ClientError(
            f"{text!r} is nobody who is known here: write {known}the UUID of a user.{where}"
        )

    def _beginning(self, start: str) -> list[UserId]:
        return [user for user in self._met if user.startswith(start)]
