"""Secrets that sign tokens, with HS256."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

from parley.chat import jws

_MARKS: Final = ("-----BEGIN ", '"kty"')
"""What PEM files and JSON Web Keys hold, and secrets don't."""
_OPENSSH: Final = ("ssh-", "ecdsa-sha2-")
"""How OpenSSH's public keys begin."""
_KEY_TYPES: Final = (
    bytes.fromhex("2a864886f70d0101"),  # RSA
    bytes.fromhex("2a8648ce3d0201"),  # elliptic curves
    bytes.fromhex("2b6570"),  # Ed25519
)
"""The object identifiers with which DER says of what kind a key is."""
_DER_BEGINS: Final = b"\x30"


class SecretKey:
    """A secret.  Implements :class:`parley.chat.ports.Key`."""

    algorithm = jws.HS256
    kid = None

    def __init__(self, secret: str) -> None:
        if is_asymmetric(secret):
            raise ValueError("a key of a pair is no secret")
        self._secret = secret.encode()

    def verifies(self, content: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(jws.hs256(self._secret, content), signature)


def is_asymmetric(secret: str) -> bool:
    """True for a key of a pair: everybody may know the public one, and could sign with it."""
    if secret.startswith(_OPENSSH) or any(mark in secret for mark in _MARKS):
        return True
    try:
        der = base64.b64decode(secret.strip(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return der.startswith(_DER_BEGINS) and any(each in der[:64] for each in _KEY_TYPES)
