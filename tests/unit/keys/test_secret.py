"""Secrets, and what must not be taken for one."""

from __future__ import annotations

import base64
import json

import pytest

from parley.keys.ring import KeyRing
from parley.keys.secret import SecretKey, is_asymmetric
from tests.services.jwks import ALGORITHMS, KeyPair

PAIRS = [KeyPair(algorithm) for algorithm in ALGORITHMS]


@pytest.mark.parametrize("pair", PAIRS, ids=ALGORITHMS)
def test_a_public_key_is_no_secret(pair: KeyPair) -> None:
    """Whoever took it for one would accept what anybody can sign."""
    bare = "".join(pair.pem.splitlines()[1:-1])
    assert base64.b64decode(bare)
    for form in (pair.pem, pair.pem.strip(), bare, f" {bare}\n", json.dumps(pair.jwk())):
        assert is_asymmetric(form)
        with pytest.raises(ValueError, match="no secret"):
            SecretKey(form)


@pytest.mark.parametrize("begin", ["ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-nistp256 "])
def test_keys_of_openssh(begin: str) -> None:
    assert is_asymmetric(f"{begin}AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 me@example.com")


@pytest.mark.parametrize(
    "secret",
    [
        "s",
        "mysecretkey",
        "MA==",
        "MIIB",
        "über-geheim",
        "ab-ssh-cd",
        "{}",
        base64.b64encode(b"0" * 32).decode(),
    ],
)
def test_secrets(secret: str) -> None:
    assert not is_asymmetric(secret)
    SecretKey(secret)


async def test_a_ring_is_what_it_is() -> None:
    ring = KeyRing([SecretKey("one"), SecretKey("two")])
    assert ring.algorithms == ("HS256",)
    assert len(ring.find("HS256", "any")) == 2
    assert ring.find("RS256", None) == []
    assert not await ring.renew()
    await ring.close()
