"""Users of a run, and their tokens."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Final

import jwt

_VALID_FOR: Final = 3600
"""Seconds."""


@dataclass(frozen=True, slots=True)
class User:
    id: str
    token: str


def make_users(secret: str, seed: str, count: int) -> list[User]:
    """The users of a seed, always the same ones; done beforehand because signing takes time."""
    expires = int(time.time()) + _VALID_FOR
    users = []
    for number in range(count):
        user = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{number}"))
        token = jwt.encode({"sub": user, "id": user, "exp": expires}, secret, algorithm="HS256")
        users.append(User(user, token))
    return users
