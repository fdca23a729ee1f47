"""Who a client is: from a JSON Web Token (RFC 7519) to a user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm

from parley.chat.ids import parse_uuid
from parley.chat.nesting import nests_deeper
from parley.chat.ports import Clock
from parley.chat.replies import token_expired
from parley.errors import ChatError, ErrorCode
from parley.model import UserId

_ALGORITHM: Final = "HS256"
_BEARER: Final = "bearer"
_MAX_TOKEN: Final = 8192
"""Characters; a longer one is refused before any cryptography."""
_MAX_DEPTH: Final = 64
"""How deep claims may be nested; without it, each version of Python would draw its own line."""

_claims: Final = msgspec.json.Decoder(dict[str, Any])


class Identity(msgspec.Struct, frozen=True):
    """An authenticated user."""

    user: UserId
    expires_at: float | None
    """Seconds since the Unix epoch; None if the token never expires."""


class Authenticator:
    """Verifies tokens signed with HS256 and one secret; no other algorithm is accepted."""

    def __init__(self, secret: str, claims: Sequence[str], clock: Clock) -> None:
        """``claims``: the first of these that a token has names the user."""
        self._secret = secret
        self._jws = jwt.PyJWS(algorithms=[])
        self._jws.register_algorithm(_ALGORITHM, _OneSecret())
        self._claims = tuple(claims)
        self._clock = clock

    def verify(self, token: object) -> Identity:
        """The user of a token; a leading ``Bearer`` is allowed.

        ``token`` is whatever a client sent for one; None if it sent nothing.

        Raises:
            ChatError: TOKEN_MISSING, TOKEN_EXPIRED or TOKEN_INVALID.
        """
        if token is None:
            token = ""
        if not isinstance(token, str):
            raise _invalid("it is not text")
        token = token.strip()
        scheme, _, credentials = token.partition(" ")
        if scheme.lower() == _BEARER:
            token = credentials.strip()
        if not token:
            raise ChatError(
                ErrorCode.TOKEN_MISSING,
                "A token is needed: send it in the Authorization header, or as auth: {token}",
            )
        claims = self._claims_of(token)
        for name in self._claims:
            if claims.get(name) is not None:
                return Identity(_user(name, claims[name]), self._expiry(claims))
        raise _invalid(f"it has none of the claims {', '.join(self._claims)}")

    def _claims_of(self, token: str) -> dict[str, Any]:
        if len(token) > _MAX_TOKEN:
            raise _invalid("it is too long")
        try:
            # Times are checked below, by our own clock; `sub` may be of any
            # kind here, because another claim may name the user.
            signed = self._jws.decode_complete(token, self._secret, [_ALGORITHM])
            return _decode_claims(signed["payload"])
        except jwt.InvalidSignatureError:
            raise _invalid("its signature is wrong") from None
        except jwt.InvalidAlgorithmError:
            raise _invalid(f"it must be signed with {_ALGORITHM}") from None
        # A library's parser meets hostile input here: whatever it raises, the token is bad.
        except Exception:
            raise _invalid("it is not a JSON Web Token") from None

    def _expiry(self, claims: dict[str, Any]) -> float | None:
        now = self._clock.now()
        not_before = _time(claims, "nbf")
        if not_before is not None and now < not_before:
            raise _invalid("it is not valid yet")
        expires_at = _time(claims, "exp")
        if expires_at is not None and now >= expires_at:
            raise token_expired()
        return expires_at


class _OneSecret(HMACAlgorithm):
    """HS256 with a secret that never changes.

    It is examined once, and not anew with every token, which would take longer than all the rest.
    """

    def __init__(self) -> None:
        super().__init__(self.SHA256)
        self._prepared: bytes | None = None

    def prepare_key(self, key: str | bytes) -> bytes:
        if self._prepared is None:
            self._prepared = super().prepare_key(key)
        return self._prepared


def _decode_claims(payload: bytes) -> dict[str, Any]:
    if nests_deeper(payload, _MAX_DEPTH):
        raise ValueError("nested too deeply")
    return _claims.decode(payload)


def _invalid(why: str) -> ChatError:
    return ChatError(ErrorCode.TOKEN_INVALID, f"The token was refused: {why}")


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    # NaN fails both comparisons; infinities and booleans are no times either.
    if isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15:
        return float(value)
    raise _invalid(f"its {name} is not a time")


def _user(name: str, value: object) -> UserId:
    user = parse_uuid(value) if isinstance(value, str) else None
    if user is None:
        raise _invalid(f"its {name} must be the user's UUID")
    return UserId(user)
