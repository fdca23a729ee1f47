"""The token check: any token, signed or not, with any header and any claims."""

from __future__ import annotations

import base64
import hmac
import json
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parley.bus.local import LocalBus
from parley.chat.auth import Authenticator, Claims, Identity
from parley.chat.nesting import nests_deeper
from parley.chat.revocations import Revocations
from parley.errors import ChatError, ErrorCode
from parley.keys.ring import KeyRing
from parley.keys.secret import SecretKey
from tests.unit.chat import ALICE, FakeClock, Kicks

from .inputs import LONG, json_texts, nested
from .profile import budget

SECRET = "a secret of these tests, which nobody else knows" * 2
HS256 = '{"alg":"HS256","typ":"JWT"}'
CLAIMS = f'{{"sub":"{ALICE}"}}'
CODES = {ErrorCode.TOKEN_MISSING, ErrorCode.TOKEN_INVALID, ErrorCode.TOKEN_EXPIRED}
INTERNAL = re.compile(
    r"msgspec|jwt\.|json\.|\.py\b|Traceback|Error\b|codec|0x[0-9a-f]{6}|recursion"
)
"""What no client has any business reading."""


def part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(header: str, payload: str, digest: str = "sha256") -> str:
    """A token whose signature is right, whatever it says."""
    content = ".".join(part(text.encode(errors="surrogatepass")) for text in (header, payload))
    return f"{content}.{part(hmac.new(SECRET.encode(), content.encode(), digest).digest())}"


def authenticator() -> Authenticator:
    clock = FakeClock()
    revocations = Revocations(Kicks(), LocalBus(), clock)
    return Authenticator(KeyRing([SecretKey(SECRET)]), Claims(), revocations, clock)


def verdict(token: object) -> Identity | ErrorCode:
    """What becomes of a token; nothing but a clear refusal may be raised."""
    try:
        return authenticator().verify(token)
    except ChatError as error:
        refusal = error
    assert refusal.code in CODES
    assert not INTERNAL.search(refusal.message), refusal.message
    assert SECRET not in refusal.message
    return refusal.code


tokens = st.one_of(
    st.builds(signed, json_texts, json_texts),
    st.builds(signed, st.just(HS256), json_texts),
    st.builds(
        lambda claims: signed(HS256, "{" + ",".join(claims) + "}"),
        st.lists(
            st.builds(
                '"{}":{}'.format,
                st.sampled_from(["sub", "id", "exp", "nbf", "iat", "x", "__proto__"]),
                json_texts | st.just(f'"{ALICE}"'),
            ),
            max_size=5,
        ),
    ),
    st.text(),
    st.lists(st.text(max_size=30), max_size=5).map(".".join),
)


@budget(500)
@given(tokens, st.sampled_from(["", "Bearer ", "bearer  ", "Basic "]))
@example("\ud800.\ud800.\ud800", "")
@example("." * 5_000, "")
def test_any_token(token: str, scheme: str) -> None:
    outcome = verdict(scheme + token)
    assert isinstance(outcome, ErrorCode) or outcome.user == ALICE


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@budget(100)
@given(anything)
def test_what_stands_where_a_token_belongs(value: Any) -> None:
    """JSON of any kind, as a client may put it into ``auth``."""
    assert verdict(value) in (ErrorCode.TOKEN_INVALID, ErrorCode.TOKEN_MISSING)


def test_a_token_that_is_a_nested_list_is_not_written_out() -> None:
    """Python would do that by recursion, and fail at some depth."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert verdict(value) is ErrorCode.TOKEN_INVALID
    while value:  # taken apart as carefully as it was made
        (value,) = value


HEADERS = {
    "alg none": '{"alg":"none"}',
    "alg None": '{"alg":"None"}',
    "no alg": '{"typ":"JWT"}',
    "alg in lower case": '{"alg":"hs256"}',
    "alg HS512": '{"alg":"HS512"}',
    "alg RS256": '{"alg":"RS256"}',
    "alg is a list": '{"alg":["HS256"]}',
    "alg is an object": '{"alg":{"a":1}}',
    "alg twice": '{"alg":"HS256","alg":"none"}',
    "crit that nobody knows": '{"alg":"HS256","crit":["exp"],"exp":1}',
    "crit is empty": '{"alg":"HS256","crit":[]}',
    "crit is no list": '{"alg":"HS256","crit":"b64"}',
    "b64 false": '{"alg":"HS256","b64":false,"crit":["b64"]}',
    "kid is no text": '{"alg":"HS256","kid":{"a":1}}',
    "a header that is a list": '["HS256"]',
    "a header that is deep": '{"alg":"HS256","x":' + nested(1_500) + "}",
    "nothing": "",
}
BROUGHT_ALONG = {
    "jku": '"https://attacker.test/keys"',
    "x5u": '"https://attacker.test/chain"',
    "jwk": '{"kty":"oct","k":"AAAA"}',
    "x5c": '["MIIB"]',
    "kid": '"../../../../dev/null"',
    "kid of SQL": '"\' OR 1=1 --"',
    "cty": '"JWT"',
    "zip": '"DEF"',
    "b64": "false",
    "x": "9" * LONG,
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_odd_headers_are_refused_even_if_the_signature_is_right(header: str) -> None:
    assert verdict(signed(header, CLAIMS)) is ErrorCode.TOKEN_INVALID
    unsigned = signed(header, CLAIMS).rpartition(".")[0] + "."
    assert verdict(unsigned) is ErrorCode.TOKEN_INVALID


@pytest.mark.parametrize("name", BROUGHT_ALONG)
def test_what_else_a_header_says_is_ignored_above_all_keys_and_where_to_fetch_some(
    name: str,
) -> None:
    header = f'{{"alg":"HS256","{name.partition(" ")[0]}":{BROUGHT_ALONG[name]}}}'
    assert verdict(signed(header, CLAIMS)) == Identity(ALICE, None)
    forged = signed(header, CLAIMS)[:-4] + "AAAA"
    assert verdict(forged) is ErrorCode.TOKEN_INVALID


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_claims_may_be_nested_as_deep_as_we_say_whatever_python_allows(opening: str) -> None:
    closing = "]" if opening == "[" else "}"

    def token(depth: int) -> str:
        inner = opening * (depth - 1) + "1" + closing * (depth - 1)
        return signed(HS256, f'{{"sub":"{ALICE}","x":{inner}}}')

    assert verdict(token(64)) == Identity(ALICE, None)
    for depth in (65, 100, 500, 1_000, 1_700):
        if len(token(depth)) <= 8_192:
            assert verdict(token(depth)) is ErrorCode.TOKEN_INVALID


def test_brackets_in_text_are_no_nesting() -> None:
    claims = {"sub": ALICE, "x": ["[" * 500, '"{\\', "]", {"a[{": "\\\\"}], "y": [[1], [2]] * 40}
    assert verdict(signed(HS256, json.dumps(claims))) == Identity(ALICE, None)


@budget(200)
@given(json_texts.map(lambda text: text.encode(errors="replace")), st.integers(0, 5))
def test_depth_is_what_a_parser_sees(text: bytes, limit: int) -> None:
    def depth(value: Any) -> int:
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    deeper = nests_deeper(text, limit)
    try:
        # A list for an object too, so that of equal keys no value is lost.
        value = json.loads(
            text, strict=False, object_pairs_hook=lambda pairs: [v for _, v in pairs]
        )
        assert deeper == (depth(value) > limit)
    except (ValueError, RecursionError):
        pass  # no JSON, or too deep for Python: any answer will do


LARGE = {
    "1 MB of nothing": "x" * 1_000_000,
    "1 MB of dots": "." * 1_000_000,
    "1 MB of blanks": " " * 1_000_000 + "x",
    "1 MB behind Bearer": "Bearer " + "x" * 1_000_000,
    "1 MB that is a token": signed(HS256, f'{{"sub":"{ALICE}","x":"{"x" * 700_000}"}}'),
    "1 MB beyond ASCII": "é" * 500_000,
}


@pytest.mark.parametrize("token", LARGE.values(), ids=LARGE)
def test_a_token_of_a_megabyte(token: str) -> None:
    assert verdict(token) is ErrorCode.TOKEN_INVALID
