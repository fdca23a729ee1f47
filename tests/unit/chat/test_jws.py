"""Tokens in their parts, and back."""

from __future__ import annotations

import json

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.chat import jws

from .test_auth import HS256, SECRET, part, signed


@given(st.dictionaries(st.text(), st.integers()), st.binary(min_size=1))
def test_what_is_signed_here_can_be_taken_apart(claims: dict[str, int], secret: bytes) -> None:
    payload = json.dumps(claims).encode()
    parsed = jws.parse(jws.sign(payload, secret))
    assert (parsed.algorithm, parsed.kid, parsed.payload) == ("HS256", None, payload)
    assert parsed.signature == jws.hs256(secret, parsed.content)


def test_a_library_agrees() -> None:
    token = jws.sign(b'{"sub":"x"}', SECRET.encode())
    assert jwt.decode(token, SECRET, algorithms=["HS256"]) == {"sub": "x"}
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}


def test_the_example_of_rfc_7515() -> None:
    """Appendix A.1, whose payload has line ends."""
    token = (
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQog"
        "Imh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )
    key = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
    secret: bytes = jwt.utils.base64url_decode(key)
    parsed = jws.parse(token)
    assert parsed.signature == jws.hs256(secret, parsed.content)
    assert json.loads(parsed.payload)["iss"] == "joe"


GOOD = signed(HS256, "{}")
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")


@pytest.mark.parametrize(
    "token",
    [
        f"{HEADER}.{PAYLOAD}=.{SIGNATURE}",
        f"{HEADER}.{PAYLOAD}==.{SIGNATURE}",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE}=",
        f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-1]}",
        f"{HEADER}.{PAYLOAD[:-1]}B.{SIGNATURE}",  # the same bytes, with other spare bits
        f"{HEADER}.{PAYLOAD}\n.{SIGNATURE}",
        f"{HEADER}. {PAYLOAD}.{SIGNATURE}",
        f"{HEADER}.!{PAYLOAD}.{SIGNATURE}",
        f"{HEADER}.{PAYLOAD}.a+/b",
        f"{HEADER}.{PAYLOAD}.a",
    ],
)
def test_each_token_has_one_spelling(token: str) -> None:
    with pytest.raises(jws.Malformed):
        jws.parse(token)


@pytest.mark.parametrize("kid", [7, ["x"], {}, True])
def test_the_name_of_a_key_is_text(kid: object) -> None:
    header = part(json.dumps({"alg": "HS256", "kid": kid}).encode())
    with pytest.raises(jws.Malformed):
        jws.parse(f"{header}.{PAYLOAD}.{SIGNATURE}")


@pytest.mark.parametrize("crit", ["null", "[]", '["b64"]', '"x"'])
def test_whatever_is_critical_is_refused(crit: str) -> None:
    header = part(f'{{"alg":"HS256","b64":true,"crit":{crit}}}'.encode())
    with pytest.raises(jws.Malformed):
        jws.parse(f"{header}.{PAYLOAD}.{SIGNATURE}")
