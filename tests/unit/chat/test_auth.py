"""Tokens: good ones, late ones, and everything that an attacker may think of."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parley.bus.local import LocalBus
from parley.chat.auth import Authenticator, Claims, Identity
from parley.chat.revocations import Revocations
from parley.errors import ChatError, ErrorCode
from parley.keys.ring import KeyRing
from parley.keys.secret import SecretKey

from . import ALICE, BOB, NOW, FakeClock, Kicks

# Long enough for HS512, so that nothing else can be wrong with it.
SECRET = "a secret of the tests" * 4
OTHER_SECRET = "another secret of them" * 4


def part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(header: str, payload: str, secret: str = SECRET, digest: str = "sha256") -> str:
    """A token made by hand: any header, any payload, and a true HMAC."""
    content = f"{part(header.encode())}.{part(payload.encode())}"
    return f"{content}.{part(hmac.new(secret.encode(), content.encode(), digest).digest())}"


HS256 = '{"alg":"HS256","typ":"JWT"}'


def token(**claims: Any) -> str:
    return signed(HS256, json.dumps(claims))


def authenticator(claims: Claims | None = None, clock: FakeClock | None = None) -> Authenticator:
    clock = clock or FakeClock()
    revocations = Revocations(Kicks(), LocalBus(), clock)
    return Authenticator(KeyRing([SecretKey(SECRET)]), claims or Claims(), revocations, clock)


def verify(text: str | None, clock: FakeClock | None = None) -> Identity:
    return authenticator(clock=clock).verify(text)


def refusal(text: str | None, clock: FakeClock | None = None) -> ErrorCode:
    with pytest.raises(ChatError) as caught:
        verify(text, clock)
    assert not caught.value.retryable
    return caught.value.code


# Good ones


def test_token_of_a_library() -> None:
    assert verify(jwt.encode({"sub": ALICE}, SECRET, "HS256")) == Identity(ALICE, None)


@pytest.mark.parametrize("before", ["Bearer ", "bearer ", "BEARER   ", "  Bearer ", "", " "])
@pytest.mark.parametrize("behind", ["", " ", "\r\n"])
def test_the_header_s_form_and_the_bare_token(before: str, behind: str) -> None:
    assert verify(before + token(sub=ALICE) + behind).user == ALICE


@pytest.mark.parametrize(
    ("claims", "user"),
    [
        ({"sub": ALICE, "id": BOB}, ALICE),
        ({"id": BOB, "sub": ALICE}, ALICE),
        ({"id": BOB}, BOB),
        ({"sub": None, "id": BOB}, BOB),
        ({"sub": ALICE.upper()}, ALICE),
        ({"sub": ALICE, "id": 7, "aud": "x", "iss": 1, "jti": []}, ALICE),
    ],
)
def test_the_first_claim_present_names_the_user(claims: dict[str, Any], user: str) -> None:
    assert verify(token(**claims)).user == user


def test_claims_are_configurable() -> None:
    named = authenticator(Claims(user=["user_id"]))
    assert named.verify(token(sub=ALICE, user_id=BOB)).user == BOB
    with pytest.raises(ChatError, match="user_id"):
        named.verify(token(sub=ALICE, id=BOB))


# Times, by our own clock


@pytest.mark.parametrize("exp", [NOW + 0.001, NOW + 1, int(NOW) + 1, 9e14])
def test_until_it_expires(exp: float) -> None:
    assert verify(token(sub=ALICE, exp=exp)) == Identity(ALICE, exp)


@pytest.mark.parametrize("exp", [NOW, NOW - 0.001, int(NOW), 0, -1, -9e14])
def test_from_when_it_expires(exp: float) -> None:
    assert refusal(token(sub=ALICE, exp=exp)) is ErrorCode.TOKEN_EXPIRED


def test_the_clock_decides() -> None:
    clock = FakeClock()
    text = token(sub=ALICE, nbf=NOW - 10, exp=NOW + 10)
    assert verify(text, clock).expires_at == NOW + 10
    clock.time = NOW + 10
    assert refusal(text, clock) is ErrorCode.TOKEN_EXPIRED
    clock.time = NOW - 11
    assert refusal(text, clock) is ErrorCode.TOKEN_INVALID


@pytest.mark.parametrize("nbf", [NOW, NOW - 1, 0, -5])
def test_from_when_it_is_valid(nbf: float) -> None:
    assert verify(token(sub=ALICE, nbf=nbf)) == Identity(ALICE, None)


@pytest.mark.parametrize("nbf", [NOW + 0.001, NOW + 1, 9e14])
def test_before_it_is_valid(nbf: float) -> None:
    assert refusal(token(sub=ALICE, nbf=nbf)) is ErrorCode.TOKEN_INVALID


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1e15",
        "-1e15",
        "1" + "0" * 400,
        "-1" + "0" * 400,
        "9" * 5000,
        "true",
        "false",
        '"9999999999"',
        '""',
        "[]",
        "[9999999999]",
        "{}",
    ],
    ids=lambda value: value[:12],
)
def test_what_is_no_time(name: str, value: str) -> None:
    text = signed(HS256, f'{{"sub":"{ALICE}","{name}":{value}}}')
    assert refusal(text) is ErrorCode.TOKEN_INVALID


def test_null_is_as_good_as_absent() -> None:
    assert verify(token(sub=ALICE, exp=None, nbf=None, iat=None)) == Identity(ALICE, None)


# Bad ones


@pytest.mark.parametrize("text", [None, "", " ", "\t\r\n"])
def test_no_token(text: str | None) -> None:
    assert refusal(text) is ErrorCode.TOKEN_MISSING


@pytest.mark.parametrize("text", ["Bearer", "Bearer ", "bearer \t "])
def test_no_token_behind_the_scheme(text: str) -> None:
    assert refusal(text) is ErrorCode.TOKEN_MISSING


GOOD = token(sub=ALICE)
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")
CLAIMS = json.dumps({"sub": ALICE})
HOSTILE = {
    "no token at all": "token",
    "two parts": f"{HEADER}.{PAYLOAD}",
    "four parts": f"{GOOD}.{SIGNATURE}",
    "dots alone": "..",
    "no signature": f"{HEADER}.{PAYLOAD}.",
    "part of the signature": GOOD[:-6],
    "another secret": signed(HS256, CLAIMS, OTHER_SECRET),
    "an empty secret": signed(HS256, CLAIMS, ""),
    "another payload": f"{HEADER}.{part(CLAIMS.replace('1', '2').encode())}.{SIGNATURE}",
    "another header": f"{part(HS256.lower().encode())}.{PAYLOAD}.{SIGNATURE}",
    "twice Bearer": f"Bearer Bearer {GOOD}",
    "another scheme": f"Basic {GOOD}",
    "a space within": GOOD.replace(".", ". "),
    "a wide full stop": GOOD.replace(".", "．"),  # noqa: RUF001 - that is the point
    "beyond ASCII": GOOD + "é",
    "a lone surrogate": GOOD + "\ud800",
    "a NUL": GOOD + "\0",
    "HS384": signed('{"alg":"HS384"}', CLAIMS, digest="sha384"),
    "HS512": signed('{"alg":"HS512"}', CLAIMS, digest="sha512"),
}
HEADERS = [
    *(json.dumps({"alg": alg, "typ": "JWT"}) for alg in ("none", "None", "NONE", "nOnE", "", " ")),
    *(json.dumps({"alg": alg}) for alg in ("RS256", "ES256", "PS256", "EdDSA", "hs256", "HS256 ")),
    *(json.dumps({"alg": alg}) for alg in (None, 256, True, ["HS256"], {"HS256": 1})),
    '{"alg":"HS256","b64":false,"crit":["b64"]}',
    '{"alg":"HS256","crit":["x"],"x":1}',
    '{"alg":"HS256","alg":"none"}',
    '{"typ":"JWT"}',
    "{}",
    "[]",
    '"HS256"',
    "null",
    "",
    "{",
    "[" * 4000,
]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_tokens(text: str) -> None:
    assert refusal(text) is ErrorCode.TOKEN_INVALID


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: header[:40])
@pytest.mark.parametrize("unsigned", [True, False])
def test_no_other_algorithm_even_if_the_hmac_is_right(header: str, unsigned: bool) -> None:
    text = signed(header, CLAIMS)
    if unsigned:
        text = text[: text.rindex(".") + 1]
    assert refusal(text) is ErrorCode.TOKEN_INVALID


def test_keys_that_the_token_brings_along_do_not_count() -> None:
    jwk = {"kty": "oct", "k": part(OTHER_SECRET.encode())}
    header = json.dumps({"alg": "HS256", "jwk": jwk, "kid": "../../dev/null", "jku": "http://x"})
    assert refusal(signed(header, CLAIMS, OTHER_SECRET)) is ErrorCode.TOKEN_INVALID
    assert verify(signed(header, CLAIMS)).user == ALICE


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{",
        "null",
        "1",
        "[]",
        f'["{ALICE}"]',
        f'"{ALICE}"',
        "{}",
        '{"sub":null}',
        '{"user":"x"}',
        f'{{"sub":"{ALICE}","x":{"[" * 4000}{"]" * 4000}}}'[:6000],
        f'{{"sub":"{ALICE}","x":{"[" * 2500}{"]" * 2500}}}',
    ],
    ids=lambda payload: payload[:20],
)
def test_payloads_that_name_nobody(payload: str) -> None:
    assert refusal(signed(HS256, payload)) is ErrorCode.TOKEN_INVALID


@pytest.mark.parametrize(
    "sub",
    [
        7,
        0,
        1.5,
        True,
        False,
        "",
        " ",
        "alice",
        [],
        [ALICE],
        {"id": ALICE},
        ALICE + " ",
        ALICE + "\0",
        ALICE.replace("-", ""),
        "' OR '1'='1",
    ],
)
def test_a_claim_that_is_no_uuid_is_not_made_up_for_by_the_next(sub: object) -> None:
    assert refusal(token(sub=sub, id=BOB)) is ErrorCode.TOKEN_INVALID


def of_length(length: int) -> str:
    """A good token of about ``length`` characters, at most 3 fewer."""
    padding = "x" * ((length - len(token(sub=ALICE, x=""))) * 3 // 4 - 1)
    text = token(sub=ALICE, x=padding)
    assert length - 3 <= len(text) <= length
    return text


def test_long_tokens() -> None:
    assert verify(of_length(8192)).user == ALICE
    assert refusal(of_length(8200)) is ErrorCode.TOKEN_INVALID
    assert refusal("x" * 10_000_000) is ErrorCode.TOKEN_INVALID
    assert refusal("." * 8000) is ErrorCode.TOKEN_INVALID


def outcome(text: str) -> tuple[Identity | None, ErrorCode | None]:
    try:
        return verify(text), None
    except ChatError as error:
        return None, error.code


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from([".", HEADER, PAYLOAD, SIGNATURE])).map("".join))
def test_any_text_is_answered(text: str) -> None:
    identity, error = outcome(text)
    if identity is not None:
        assert identity.user == ALICE
    else:
        assert error in (ErrorCode.TOKEN_INVALID, ErrorCode.TOKEN_MISSING)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(ALICE.upper()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["sub", "id", "exp", "nbf", "iat", "aud", "iss", "jti"])


@settings(deadline=None)
@given(st.dictionaries(names, json_values))
def test_any_claims_are_answered(claims: dict[str, Any]) -> None:
    identity, error = outcome(token(**claims))
    if identity is None:
        assert error in (ErrorCode.TOKEN_INVALID, ErrorCode.TOKEN_EXPIRED)
    else:
        assert identity.user == ALICE
        assert identity.expires_at is None or identity.expires_at > NOW


@pytest.mark.parametrize("text", [*HOSTILE.values(), token(sub=7), token(sub=ALICE, exp=1)])
def test_a_refusal_tells_nothing_of_the_secret_or_the_library(text: str) -> None:
    with pytest.raises(ChatError) as caught:
        verify(text)
    assert SECRET not in caught.value.message
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
