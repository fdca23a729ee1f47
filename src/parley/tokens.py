"""Tokens made by Parley itself: for development, and to try things by hand.

In production the application that owns the users makes them.
"""

from __future__ import annotations

import re
import time
from uuid import UUID

import msgspec

from parley.chat import jws

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = 10 * 365 * 86_400


class ReadyUser(msgspec.Struct, frozen=True):
    """Somebody as whom one can log in at once, to try things out."""

    name: str
    id: UUID
    token: str


class Signer(msgspec.Struct, frozen=True):
    """What signs tokens, and what they say of themselves."""

    secret: str
    issuer: str = ""
    """Empty: nothing."""
    audience: str = ""

    def token(self, user: UUID, ttl: int) -> str:
        """A JWT for ``user`` signed with HS256, valid from now for ``ttl`` seconds."""
        now = int(time.time())
        claims: dict[str, object] = {"sub": str(user), "iat": now, "exp": now + ttl}
        claims |= {"iss": self.issuer} if self.issuer else {}
        claims |= {"aud": self.audience} if self.audience else {}
        return jws.sign(msgspec.json.encode(claims), self.secret.encode())


def mint_token(secret: str, user: UUID, ttl: int) -> str:
    """As :meth:`Signer.token`, for servers that ask for no issuer and no audience."""
    return Signer(secret).token(user, ttl)


def parse_ttl(text: str) -> int:
    """Seconds from ``3600``, ``90s``, ``15m``, ``1h`` or ``30d``; else ``ValueError``."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text.strip())
    if match is None:
        raise ValueError("write seconds, or a number with s, m, h or d: 3600, 15m, 1h, 30d")
    seconds = int(match[1]) * _UNITS[match[2]]
    if not 0 < seconds <= _LONGEST:
        raise ValueError("a token lives from 1 second to 10 years")
    return seconds
