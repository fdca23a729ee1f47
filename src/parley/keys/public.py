"""Public keys, which verify what somebody else's private keys have signed.

Loads PyJWT and ``cryptography``, which take 11 MB and 60 ms: import it where
such keys are used, and not before.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from jwt import PyJWK, PyJWTError
from jwt.algorithms import get_default_algorithms

RSA_BITS: Final = 2048
"""RFC 7518, section 3.3: a shorter modulus must not be used."""
MOST_KEYS: Final = 32
"""Of one file, or one JWK Set; a token that doesn't name its key is tried with all."""

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
_ALGORITHMS: Final = {name: get_default_algorithms()[name] for name in ALGORITHMS}
_USUAL: Final = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
"""The algorithm of a key that doesn't say."""
_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)


class UnusableKey(ValueError):
    """A key can't be used; the text says why, to the operator, and holds nothing of the key."""


class PublicKey:
    """A key with its algorithm.  Implements :class:`parley.chat.ports.Key`."""

    def __init__(self, algorithm: str, key: object, kid: str | None = None) -> None:
        """Raises UnusableKey."""
        self.algorithm = algorithm
        self.kid = kid
        self._key = _checked(algorithm, key)
        self._verify: Final = _ALGORITHMS[algorithm].verify

    def verifies(self, content: bytes, signature: bytes) -> bool:
        return self._verify(content, self._key, signature)


def read_public_keys(setting: str) -> list[PublicKey]:
    """The keys of JWT_PUBLIC_KEY, which is PEM text or the path of a file that holds some.

    Raises:
        UnusableKey: there is none, or one that can't be used.
    """
    text = setting.replace("\\n", "\n")  # as variables hold line ends that can't be in them
    where = "JWT_PUBLIC_KEY"
    if "-----BEGIN" not in text:
        where = f"{setting}, which JWT_PUBLIC_KEY names,"
        try:
            text = Path(setting).read_text("ascii")
        except OSError as error:
            raise UnusableKey(
                f"JWT_PUBLIC_KEY is neither a key in PEM form nor a file that can be read: "
                f"{error.strerror}."
            ) from None
        except ValueError:
            raise UnusableKey(f"{where} holds no key in PEM form.") from None
    blocks = list(_BLOCK.finditer(text))
    if not 1 <= len(blocks) <= MOST_KEYS:
        raise UnusableKey(f"{where} holds {len(blocks)} keys in PEM form: 1 to {MOST_KEYS} may be.")
    try:
        return [_read_block(block[1], block[0].encode()) for block in blocks]
    except UnusableKey as error:
        raise UnusableKey(f"{where} holds {error}.") from None


def read_jwk(jwk: dict[str, Any]) -> PublicKey:
    """A key of a JWK Set (RFC 7517).  Raises UnusableKey."""
    kind = jwk.get("kty")
    if kind not in _USUAL:
        raise UnusableKey("a key that isn't a public one of type RSA, EC or OKP")
    if "d" in jwk:
        raise UnusableKey("a private key; publish none, and replace this one")
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list):
        raise UnusableKey("a key that isn't for signatures")
    if "verify" not in operations:
        raise UnusableKey("a key that isn't for verifying")
    algorithm = jwk.get("alg", _USUAL[kind])
    if algorithm not in ALGORITHMS:
        raise UnusableKey(f"a key for another algorithm than {', '.join(ALGORITHMS)}")
    kid = jwk.get("kid")
    try:
        key = PyJWK(jwk, algorithm).key
    # A library's parser meets what somebody else wrote: whatever it raises, the key is bad.
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError):
        raise UnusableKey("a key that can't be read, or that doesn't fit its alg") from None
    return PublicKey(algorithm, key, kid if isinstance(kid, str) else None)


def _read_block(label: str, pem: bytes) -> PublicKey:
    if "PRIVATE" in label:
        raise UnusableKey("a private key; Parley needs the public one, and nobody else may see it")
    try:
        key: object = (
            load_pem_x509_certificate(pem).public_key()
            if label == "CERTIFICATE"
            else load_pem_public_key(pem)
        )
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKey("a key that can't be read") from None
    for kind, name in (
        (RSAPublicKey, "RS256"),
        (EllipticCurvePublicKey, "ES256"),
        (Ed25519PublicKey, "EdDSA"),
    ):
        if isinstance(key, kind):
            return PublicKey(name, key)
    raise UnusableKey("a key that is none of RSA, EC (P-256) and Ed25519")


def _checked(algorithm: str, key: object) -> object:
    if algorithm in ("RS256", "PS256"):
        if not isinstance(key, RSAPublicKey):
            raise UnusableKey(f"a key that isn't one for {algorithm}")
        if key.key_size < RSA_BITS:
            raise UnusableKey(f"an RSA key of {key.key_size} bits; it takes {RSA_BITS} or more")
    elif algorithm == "ES256":
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            raise UnusableKey("a key that isn't one for ES256, on the curve P-256")
    elif not isinstance(key, Ed25519PublicKey):
        raise UnusableKey("a key that isn't one for EdDSA, on the curve Ed25519")
    return key
