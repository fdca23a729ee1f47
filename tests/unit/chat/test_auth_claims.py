"""What tokens must say besides who they are of, which keys count, and what makes them worthless."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import jwt
import pytest

from parley.bus.local import LocalBus
from parley.chat.auth import Authenticator, Claims, Identity, KeysAway, Refusal, UnknownKey
from parley.chat.ports import Key, Revocation
from parley.chat.revocations import Revocations
from parley.errors import ChatError, ErrorCode
from parley.keys.public import PublicKey, read_public_keys
from parley.keys.ring import KeyRing, fitting
from parley.keys.secret import SecretKey
from tests.services.jwks import KeyPair

from . import ALICE, BOB, NOW, FakeClock, Kicks
from .test_auth import HS256, signed

SECRET, PREVIOUS = "the secret of today " * 2, "the secret of yesterday " * 2


class Site:
    """An authenticator, with what it rests on."""

    def __init__(self, *secrets: str, **claims: Any) -> None:
        self.clock = FakeClock()
        self.kicks = Kicks()
        self.revocations = Revocations(self.kicks, LocalBus(), self.clock)
        ring = KeyRing(SecretKey(secret) for secret in secrets or (SECRET,))
        self.authenticator = Authenticator(ring, Claims(**claims), self.revocations, self.clock)

    def verify(self, secret: str = SECRET, **claims: Any) -> Identity:
        text = signed(HS256, json.dumps({"sub": ALICE, **claims}), secret)
        return self.authenticator.verify(text)

    def refuses(self, reason: Refusal, secret: str = SECRET, **claims: Any) -> ErrorCode:
        """Fail unless a token that says this is refused, and counted."""
        before = self.authenticator.refusals[reason]
        with pytest.raises(ChatError) as caught:
            self.verify(secret, **claims)
        assert self.authenticator.refusals[reason] == before + 1
        return caught.value.code

    async def kick(self, at: float, until: float = NOW + 1000, reason: str = "") -> None:
        await self.kicks.put(Revocation(ALICE, round(at * 1000), round(until * 1000), reason))
        await self.revocations.start(lambda users: None)
        await self.revocations.close()


# Who made it, and for whom


def test_the_issuer() -> None:
    site = Site(issuers=["https://a/", "https://b/"])
    assert site.verify(iss="https://b/").user == ALICE
    bad: list[object] = ["https://a", "HTTPS://a/", "", None, 7, ["https://a/"], {"https://a/": 1}]
    for iss in bad:
        assert site.refuses(Refusal.ISSUER, iss=iss) is ErrorCode.TOKEN_INVALID
    site.refuses(Refusal.ISSUER)


def test_the_audience() -> None:
    site = Site(audiences=["chat", "talk"])
    good: list[object] = ["chat", ["other", "talk"], ["chat"], [7, None, "chat"]]
    for aud in good:
        assert site.verify(aud=aud).user == ALICE
    bad: list[object] = ["Chat", "chat ", "", [], ["other"], [["chat"]], {"chat": 1}, None, 7]
    for aud in bad:
        assert site.refuses(Refusal.AUDIENCE, aud=aud) is ErrorCode.TOKEN_INVALID
    site.refuses(Refusal.AUDIENCE)


def test_where_nobody_is_named_anybody_will_do() -> None:
    assert Site().verify(iss="x", aud=["y"]).user == ALICE


# Times


def test_clocks_may_differ_by_the_leeway() -> None:
    site = Site(leeway=30)
    assert site.verify(nbf=NOW + 29).user == ALICE
    assert site.verify(exp=NOW - 29).expires_at == NOW + 1
    site.refuses(Refusal.NOT_YET_VALID, nbf=NOW + 31)
    assert site.refuses(Refusal.EXPIRED, exp=NOW - 30) is ErrorCode.TOKEN_EXPIRED


def test_when_it_was_issued_is_remembered_and_else_no_matter() -> None:
    assert Site().verify(iat=NOW - 5).issued_at == NOW - 5
    assert Site().verify(iat=NOW + 500).issued_at == NOW + 500
    assert Site().verify().issued_at is None


# Keys


def test_the_secret_before_counts_too() -> None:
    site = Site(SECRET, PREVIOUS)
    assert site.verify(SECRET) == site.verify(PREVIOUS) == Identity(ALICE)
    site.refuses(Refusal.SIGNATURE, "another secret altogether, or none")


def test_every_reason_is_counted() -> None:
    site = Site()
    texts = {
        "": Refusal.MISSING,
        "x": Refusal.MALFORMED,
        "x" * 9000: Refusal.MALFORMED,
        signed(HS256, "[]", SECRET): Refusal.MALFORMED,
        signed('{"alg":"HS256","crit":["x"]}', "{}", SECRET): Refusal.MALFORMED,
        signed('{"alg":"RS256"}', "{}", SECRET): Refusal.ALGORITHM,
        signed(HS256, "{}", SECRET): Refusal.CLAIMS,
        signed(HS256, '{"sub":"alice"}', SECRET): Refusal.CLAIMS,
    }
    for text, reason in texts.items():
        before = site.authenticator.refusals[reason]
        with pytest.raises(ChatError):
            site.authenticator.verify(text)
        assert site.authenticator.refusals[reason] == before + 1, reason


def test_a_public_key_verifies_what_its_private_key_signed_and_nothing_else() -> None:
    site = Site()
    for algorithm in ("RS256", "ES256", "EdDSA"):
        pair = KeyPair(algorithm)
        ring = KeyRing(read_public_keys(pair.pem))
        public = Authenticator(ring, Claims(), site.revocations, site.clock)
        good = pair.token(ALICE, exp=NOW + 5)
        assert public.verify(good).user == ALICE
        assert public.verify(pair.token(ALICE, kid=None, exp=NOW + 5)).user == ALICE
        confused = [
            signed(HS256, json.dumps({"sub": ALICE}), pair.pem),
            signed(HS256, json.dumps({"sub": ALICE}), pair.pem.strip()),
            signed(f'{{"alg":"{algorithm}"}}', json.dumps({"sub": ALICE}), pair.pem),
            KeyPair(algorithm).token(ALICE, exp=NOW + 5),
            good[: good.rindex(".") + 1],
            jwt.encode({"sub": ALICE}, "", algorithm="none"),
        ]
        for text in confused:
            with pytest.raises(ChatError) as caught:
                public.verify(text)
            assert caught.value.code is ErrorCode.TOKEN_INVALID


class Changing:
    """Keys that are others when they are asked for anew, if they can be had."""

    algorithms = ("ES256",)
    fetched = failed = waiting = 0

    def __init__(self, *later: PublicKey, away: bool = False) -> None:
        self._keys: Sequence[PublicKey] = ()
        self._later = later
        self._away = away

    def find(self, algorithm: str, kid: str | None) -> Sequence[Key]:
        return fitting(self._keys, algorithm, kid)

    async def renew(self) -> bool:
        await asyncio.sleep(0)
        if not self._away:
            self._keys = self._later
        return not self._away

    async def close(self) -> None:
        pass


async def test_an_unknown_key_may_be_a_new_one() -> None:
    pair, site = KeyPair("ES256"), Site()
    (key,) = read_public_keys(pair.pem)
    text = pair.token(ALICE, exp=NOW + 5)

    late = Authenticator(Changing(key), Claims(), site.revocations, site.clock)
    with pytest.raises(UnknownKey):
        late.verify(text)
    assert not late.refusals, "nothing is decided yet"
    assert (await late.verify_with_newer_keys(text)).user == ALICE

    never = Authenticator(Changing(), Claims(), site.revocations, site.clock)
    with pytest.raises(ChatError, match="unknown key"):
        await never.verify_with_newer_keys(text)
    assert never.refusals == {Refusal.UNKNOWN_KEY: 1}

    away = Authenticator(Changing(key, away=True), Claims(), site.revocations, site.clock)
    with pytest.raises(KeysAway):
        await away.verify_with_newer_keys(text)
    assert away.refusals == {Refusal.KEYS_AWAY: 1}


# Revoked


async def test_tokens_from_before_are_worthless_and_later_ones_are_not() -> None:
    site = Site()
    await site.kick(NOW - 10, reason="see you")
    assert site.refuses(Refusal.REVOKED, iat=NOW - 11) is ErrorCode.TOKEN_REVOKED
    assert site.refuses(Refusal.REVOKED) is ErrorCode.TOKEN_REVOKED, "nobody knows when"
    assert site.verify(iat=NOW - 10).user == ALICE
    assert site.verify(sub=BOB, iat=NOW - 11).user == BOB
    with pytest.raises(ChatError, match="see you"):
        site.verify(iat=0)
    site.clock.time = NOW + 1000
    assert site.verify(iat=NOW - 11).user == ALICE, "it is over"


async def test_a_clock_that_is_ahead_does_not_save_a_token() -> None:
    site = Site(leeway=30)
    await site.kick(NOW - 10)
    site.refuses(Refusal.REVOKED, iat=NOW + 19)
    assert site.verify(iat=NOW + 20).user == ALICE


async def test_tokens_are_looked_at_again() -> None:
    site = Site()
    identity = site.verify(iat=NOW - 50, exp=NOW + 50)
    assert site.authenticator.check(identity) is None
    await site.kick(NOW)
    error = site.authenticator.check(identity)
    assert error is not None
    assert error.code is ErrorCode.TOKEN_REVOKED
    site.clock.time = NOW + 1000
    error = site.authenticator.check(identity)
    assert error is not None
    assert error.code is ErrorCode.TOKEN_EXPIRED
