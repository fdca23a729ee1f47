from __future__ import annotations

import time
from uuid import UUID

import jwt
import pytest

from parley.tokens import mint_token, parse_ttl

SECRET = "a-secret-of-the-tests-with-32-bytes"


def test_a_token_has_the_user_and_its_times() -> None:
    user = UUID("3F0C6A3E-94C2-4D6B-9F1E-0D8A4A1F6F5B")
    before = int(time.time())

    token = mint_token(SECRET, user, 60)

    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert claims.keys() == {"sub", "iat", "exp"}
    assert claims["sub"] == "3f0c6a3e-94c2-4d6b-9f1e-0d8a4a1f6f5b"
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] == claims["iat"] + 60
    assert jwt.get_unverified_header(token)["alg"] == "HS256"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1", 1), ("3600", 3600), ("90s", 90), ("15m", 900), ("1h", 3600), ("30d", 2_592_000)],
)
def test_ttl(text: str, seconds: int) -> None:
    assert parse_ttl(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5h", "h", "1w", "1h30m", "99999d", "٣", "1 h"])
def test_bad_ttl(text: str) -> None:
    with pytest.raises(ValueError, match=r"write seconds|a token lives"):
        parse_ttl(text)
