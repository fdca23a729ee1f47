"""Who a client is: from a JSON Web Token (RFC 7519) to a user.

What is checked, and what isn't, follows RFC 8725: each key has one algorithm,
and a token that names another one is refused before any cryptography.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import msgspec

from parley.chat import jws
from parley.chat.ids import parse_uuid
from parley.chat.jws import Jws
from parley.chat.nesting import nests_deeper
from parley.chat.ports import Clock, Key, Keys
from parley.chat.replies import token_expired, token_revoked
from parley.chat.revocations import Revocations
from parley.errors import ChatError, ErrorCode
from parley.model import UserId

_BEARER: Final = "bearer"
_MAX_TOKEN: Final = 8192
"""Characters; a longer one is refused before any cryptography."""
_MOMENT: Final = -1e15, 1e15
"""Between these a number is a time; beyond them arithmetic with times goes wrong."""
_MAX_DEPTH: Final = 64
"""How deep claims may be nested; without it, each version of Python would draw its own line."""

_claims: Final = msgspec.json.Decoder(dict[str, Any])


class Refusal(enum.StrEnum):
    """Why a token was refused: more exactly than clients are told by a code."""

    MISSING = "missing"
    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    CLAIMS = "claims"
    """A time is no time, or none of the claims names a user."""
    ISSUER = "issuer"
    AUDIENCE = "audience"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    KEYS_AWAY = "keys_away"
    """It names an unknown key, and none can be fetched now: it was neither accepted nor refused."""


class TokenRefused(Exception):
    """A token is of no use; ``answer`` is what its client is told."""

    def __init__(self, reason: Refusal, answer: ChatError) -> None:
        super().__init__(answer.message)
        self.reason = reason
        self.answer = answer


class UnknownKey(Exception):
    """A token names a key that isn't known; it may be newer than what is."""


class KeysAway(Exception):
    """A token names a key that isn't known, and keys can't be had now."""


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What tokens must say."""

    user: Sequence[str] = ("sub", "id")
    """The first of these that a token has names the user."""
    issuers: Sequence[str] = ()
    """One of them is the token's ``iss``; empty: anybody."""
    audiences: Sequence[str] = ()
    """One of them is in the token's ``aud``; empty: whoever it is meant for."""
    leeway: float = 0.0
    """Seconds by which clocks may differ."""


class Identity(msgspec.Struct, frozen=True, gc=False):
    """An authenticated user.  Times are seconds since the Unix epoch."""

    user: UserId
    expires_at: float | None = None
    """When the token is of no use any more, the leeway included; None if it never expires."""
    issued_at: float | None = None
    """None if the token doesn't say."""


class Authenticator:
    """Verifies tokens."""

    def __init__(self, keys: Keys, claims: Claims, revocations: Revocations, clock: Clock) -> None:
        self.keys = keys
        self._claims = claims
        self._revocations = revocations
        self._clock = clock
        self.refusals: Counter[Refusal] = Counter()
        """Tokens refused so far when their clients connected."""

    def verify(self, token: object) -> Identity:
        """The user of a token; a leading ``Bearer`` is allowed.

        ``token`` is whatever a client sent for one; None if it sent nothing.

        Raises:
            ChatError: TOKEN_MISSING, TOKEN_EXPIRED, TOKEN_REVOKED or TOKEN_INVALID.
            UnknownKey: :meth:`verify_with_newer_keys` may know more.
        """
        try:
            signed = _parse(token)
            return self._identify(signed, self._candidates(signed))
        except TokenRefused as refused:
            self._raise(refused)

    async def verify_with_newer_keys(self, token: object) -> Identity:
        """As :meth:`verify`, with keys that are fetched now: one fetch for all who wait.

        Raises:
            ChatError: as above.
            KeysAway: they can't be had.
        """
        fetched = await self.keys.renew()
        try:
            return self.verify(token)
        except UnknownKey:
            if fetched:
                reason = "it is signed with an unknown key"
                self._raise(_invalid(Refusal.UNKNOWN_KEY, reason))
            self.refusals[Refusal.KEYS_AWAY] += 1
            raise KeysAway from None

    def check(self, identity: Identity) -> ChatError | None:
        """Why a token that was verified is not good any more; None if it is."""
        revocation = self._revocations.find(identity.user, self._earliest(identity))
        if revocation is not None:
            return token_revoked(revocation.reason)
        if identity.expires_at is not None and self._clock.now() >= identity.expires_at:
            return token_expired()
        return None

    # -- within

    def _raise(self, refused: TokenRefused) -> NoReturn:
        self.refusals[refused.reason] += 1
        raise refused.answer from None

    def _candidates(self, signed: Jws) -> Sequence[Key]:
        if signed.algorithm not in self.keys.algorithms:
            accepted = " or ".join(self.keys.algorithms)
            raise _invalid(Refusal.ALGORITHM, f"it must be signed with {accepted}")
        candidates = self.keys.find(signed.algorithm, signed.kid)
        if not candidates:
            raise UnknownKey
        return candidates

    def _identify(self, signed: Jws, candidates: Sequence[Key]) -> Identity:
        if not any(key.verifies(signed.content, signed.signature) for key in candidates):
            raise _invalid(Refusal.SIGNATURE, "its signature is wrong")
        try:
            claims = _decode_claims(signed.payload)
        except (ValueError, RecursionError, msgspec.MsgspecError):
            raise _invalid(Refusal.MALFORMED, "it is not a JSON Web Token") from None
        self._check_parties(claims)
        self._check_not_before(claims)
        expires_at = _time(claims, "exp")
        if expires_at is not None:
            expires_at += self._claims.leeway
        identity = Identity(self._user(claims), expires_at, _time(claims, "iat"))
        error = self.check(identity)
        if error is not None:
            expired = error.code is ErrorCode.TOKEN_EXPIRED
            raise TokenRefused(Refusal.EXPIRED if expired else Refusal.REVOKED, error)
        return identity

    def _check_parties(self, claims: dict[str, Any]) -> None:
        wanted = self._claims
        if wanted.issuers and claims.get("iss") not in wanted.issuers:
            raise _invalid(Refusal.ISSUER, "its iss is not the issuer that is expected here")
        audience = claims.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if wanted.audiences and not any(each in wanted.audiences for each in named):
            raise _invalid(Refusal.AUDIENCE, "its aud does not name this server")

    def _check_not_before(self, claims: dict[str, Any]) -> None:
        not_before = _time(claims, "nbf")
        if not_before is not None and self._clock.now() < not_before - self._claims.leeway:
            raise _invalid(Refusal.NOT_YET_VALID, "it is not valid yet")

    def _user(self, claims: dict[str, Any]) -> UserId:
        for name in self._claims.user:
            value = claims.get(name)
            if value is not None:
                user = parse_uuid(value) if isinstance(value, str) else None
                if user is None:
                    raise _invalid(Refusal.CLAIMS, f"its {name} must be the user's UUID")
                return UserId(user)
        names = ", ".join(self._claims.user)
        raise _invalid(Refusal.CLAIMS, f"it has none of the claims {names}")

    def _earliest(self, identity: Identity) -> float | None:
        """When a token may have been issued, by our clock, at the earliest."""
        if identity.issued_at is None:
            return None
        return identity.issued_at - self._claims.leeway


def _parse(token: object) -> Jws:
    if token is None:
        token = ""
    if not isinstance(token, str):
        raise _invalid(Refusal.MALFORMED, "it is not text")
    token = token.strip()
    scheme, _, credentials = token.partition(" ")
    if scheme.lower() == _BEARER:
        token = credentials.strip()
    if not token:
        message = "A token is needed: send it in the Authorization header, or as auth: {token}"
        raise TokenRefused(Refusal.MISSING, ChatError(ErrorCode.TOKEN_MISSING, message))
    if len(token) > _MAX_TOKEN:
        raise _invalid(Refusal.MALFORMED, "it is too long")
    try:
        return jws.parse(token)
    except jws.Malformed as error:
        raise _invalid(Refusal.MALFORMED, str(error)) from None


def _decode_claims(payload: bytes) -> dict[str, Any]:
    if nests_deeper(payload, _MAX_DEPTH):
        raise ValueError("nested too deeply")
    return _claims.decode(payload)


def _invalid(reason: Refusal, why: str) -> TokenRefused:
    return TokenRefused(reason, ChatError(ErrorCode.TOKEN_INVALID, f"The token was refused: {why}"))


def _time(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    lowest, highest = _MOMENT
    # NaN fails both comparisons; infinities and booleans are no times either.
    if isinstance(value, int | float) and not isinstance(value, bool) and lowest < value < highest:
        return float(value)
    raise _invalid(Refusal.CLAIMS, f"its {name} is not a time")
