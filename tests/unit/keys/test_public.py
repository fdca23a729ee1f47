"""Public keys as operators and identity providers give them."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from parley.keys.public import MOST_KEYS, UnusableKey, read_jwk, read_public_keys
from tests.services.jwks import ALGORITHMS, KeyPair

PAIRS = {algorithm: KeyPair(algorithm) for algorithm in ALGORITHMS}
SHORT = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
RSA, EC, ED = PAIRS["RS256"], PAIRS["ES256"], PAIRS["EdDSA"]


def signed(pair: KeyPair) -> tuple[bytes, bytes]:
    """What a token's signature is of, and the signature."""
    content, _, signature = pair.token("somebody").encode().rpartition(b".")
    return content, base64.urlsafe_b64decode(signature + b"==")


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def certificate(pair: KeyPair) -> str:
    """One that has expired; what counts is the key."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "login.example.com")])
    past = datetime(2020, 1, 1, tzinfo=UTC)
    assert isinstance(pair.private, rsa.RSAPrivateKey)
    builder = x509.CertificateBuilder(name, name, pair.private.public_key(), 1)
    builder = builder.not_valid_before(past).not_valid_after(past + timedelta(days=1))
    made = builder.sign(pair.private, SHA256())
    return made.public_bytes(Encoding.PEM).decode()


# PEM


@pytest.mark.parametrize("pair", [RSA, EC, ED], ids=lambda pair: pair.algorithm)
def test_a_pem_key_has_the_usual_algorithm_of_its_kind(pair: KeyPair) -> None:
    (key,) = read_public_keys(pair.pem)
    assert (key.algorithm, key.kid) == (pair.algorithm, None)
    content, signature = signed(pair)
    assert key.verifies(content, signature)
    assert not key.verifies(content + b".", signature)


@pytest.mark.parametrize("form", ["text", "one line", "file"])
def test_several_keys_in_each_form(tmp_path: Path, form: str) -> None:
    text = f"The first:\n{RSA.pem}\n{ED.pem}{EC.pem}"
    if form == "one line":
        text = text.replace("\n", "\\n")
    elif form == "file":
        (tmp_path / "keys.pem").write_text(text)
        text = str(tmp_path / "keys.pem")
    assert [key.algorithm for key in read_public_keys(text)] == ["RS256", "EdDSA", "ES256"]


def test_a_certificate_stands_for_its_key() -> None:
    (key,) = read_public_keys(certificate(RSA))
    assert key.verifies(*signed(RSA))


def test_pkcs1() -> None:
    assert isinstance(RSA.private, rsa.RSAPrivateKey)
    pem = RSA.private.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1).decode()
    assert "BEGIN RSA PUBLIC KEY" in pem
    (key,) = read_public_keys(pem)
    assert key.verifies(*signed(RSA))


def refusal(setting: str) -> str:
    with pytest.raises(UnusableKey) as caught:
        read_public_keys(setting)
    return str(caught.value)


def test_what_is_no_key(tmp_path: Path) -> None:
    assert "neither a key in PEM form nor a file" in refusal(str(tmp_path / "nothing.pem"))
    assert "neither a key in PEM form nor a file" in refusal(str(tmp_path))
    (tmp_path / "empty.pem").touch()
    assert "holds 0 keys in PEM form" in refusal(str(tmp_path / "empty.pem"))
    (tmp_path / "key.der").write_bytes(bytes(range(256)))
    assert "holds no key in PEM form" in refusal(str(tmp_path / "key.der"))
    assert "a key that can't be read" in refusal(RSA.pem.replace("M", "N"))
    assert "0 keys" in refusal("-----BEGIN PUBLIC KEY-----")
    assert f"1 to {MOST_KEYS}" in refusal(EC.pem * (MOST_KEYS + 1))


def test_a_private_key_is_not_taken_and_not_shown() -> None:
    for pair in (RSA, EC, ED):
        pem = pair.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        said = refusal(EC.pem + pem)
        assert "a private key" in said
        assert pem.splitlines()[1] not in said


def test_weak_and_unknown_keys() -> None:
    assert "an RSA key of 1024 bits; it takes 2048 or more" in refusal(pem_of(SHORT))
    assert "P-256" in refusal(pem_of(ec.generate_private_key(ec.SECP384R1())))
    assert "Ed25519" in refusal(pem_of(ed448.Ed448PrivateKey.generate()))


# JSON Web Keys


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_jwk_has_the_algorithm_that_it_names(pair: KeyPair) -> None:
    key = read_jwk(pair.jwk())
    assert (key.algorithm, key.kid) == (pair.algorithm, pair.kid)
    assert key.verifies(*signed(pair))


def test_what_a_jwk_need_not_say() -> None:
    bare = {"alg": None, "use": None, "kid": None}
    keys = [read_jwk(pair.jwk(**bare)) for pair in (RSA, EC, ED)]
    assert [(key.algorithm, key.kid) for key in keys] == [
        ("RS256", None),
        ("ES256", None),
        ("EdDSA", None),
    ]
    assert read_jwk(RSA.jwk(key_ops=["encrypt", "verify"], x5t="x", more=[1])).verifies(
        *signed(RSA)
    )


def test_one_key_never_verifies_by_two_algorithms() -> None:
    key = read_jwk(PAIRS["PS256"].jwk())
    pair = KeyPair("RS256")
    pair.private = PAIRS["PS256"].private
    assert not key.verifies(*signed(pair))


WEAK = RSAAlgorithm.to_jwk(SHORT.public_key(), as_dict=True)
P384 = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
BAD_KEYS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a secret": {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
    "a secret by another name": RSA.jwk(kty="oct", k="c2VjcmV0"),
    "an HMAC with a public key": RSA.jwk(alg="HS256"),
    "none": RSA.jwk(alg="none"),
    "another hash": RSA.jwk(alg="RS512"),
    "alg is no text": RSA.jwk(alg=["RS256"]),
    "an elliptic curve for RSA": EC.jwk(alg="RS256"),
    "RSA for an elliptic curve": RSA.jwk(alg="ES256"),
    "another type of curve": ED.jwk(alg="ES256"),
    "for encryption": RSA.jwk(use="enc"),
    "for encryption alone": RSA.jwk(use=None, key_ops=["encrypt"]),
    "operations that are none": RSA.jwk(key_ops="verify"),
    "a private one": RSA.jwk(d="AQAB"),
    "weak": WEAK,
    "another curve": P384,
    "another curve for ES256": {**P384, "alg": "ES256"},
    "Ed448": {"kty": "OKP", "crv": "Ed448", "x": "A" * 76},
    "X25519": {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
    "no modulus": RSA.jwk(n=None),
    "a modulus that is no number": RSA.jwk(n="?"),
    "a modulus of another kind": RSA.jwk(n=7),
    "an exponent of 1": RSA.jwk(e="AQ"),
    "off the curve": EC.jwk(x=EC.jwk()["y"]),
    "half a point": EC.jwk(y="AA"),
}


@pytest.mark.parametrize("jwk", BAD_KEYS.values(), ids=BAD_KEYS)
def test_keys_that_are_not_taken(jwk: dict[str, Any]) -> None:
    with pytest.raises(UnusableKey):
        read_jwk(jwk)
