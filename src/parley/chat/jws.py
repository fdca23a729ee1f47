"""JSON Web Signature in its compact form, RFC 7515 section 7.1.  Sans-I/O.

What signs with a secret is here as well.  It is a few lines, and PyJWT would
load all of ``cryptography`` for them: 11 MB and 60 ms for each process.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64encode
from typing import Any, Final

import msgspec

HS256: Final = "HS256"
"""HMAC with SHA-256, RFC 7518 section 3.2."""


class Malformed(ValueError):
    """It isn't a signed token, or one that demands what isn't known here."""


class Jws(msgspec.Struct, frozen=True, gc=False):
    """A token in its parts.  Nothing is verified yet."""

    algorithm: str
    kid: str | None
    """Which key signed it, as its header says."""
    content: bytes
    """What is signed."""
    payload: bytes
    signature: bytes


class _Header(msgspec.Struct):
    """Whatever else a header says is ignored, above all keys and where to find some."""

    alg: str
    kid: str | None = None
    crit: Any = msgspec.UNSET


_decode_header: Final = msgspec.json.Decoder(_Header).decode
_OWN_HEADER: Final = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")


def parse(token: str) -> Jws:
    """Take a token apart.

    Raises:
        Malformed: it can't be; the text may be shown to the client.
    """
    try:
        content, _, signature = token.encode("ascii").rpartition(b".")
        header, _, payload = content.partition(b".")
        head = _decode_header(_decode_base64(header))
        jws = Jws(head.alg, head.kid, content, _decode_base64(payload), _decode_base64(signature))
    except (ValueError, RecursionError, msgspec.MsgspecError):
        raise Malformed("it is not a JSON Web Token") from None
    if head.crit is not msgspec.UNSET:
        # Section 4.1.11: whoever doesn't know such an extension must refuse the token.
        raise Malformed("its header demands an extension")
    return jws


def hs256(secret: bytes, content: bytes) -> bytes:
    """The signature that ``secret`` makes."""
    return hmac.digest(secret, content, "sha256")


def sign(payload: bytes, secret: bytes) -> str:
    """A token signed with HS256."""
    content = b"%s.%s" % (_OWN_HEADER, _encode_base64(payload))
    return (b"%s.%s" % (content, _encode_base64(hs256(secret, content)))).decode()


def _encode_base64(plain: bytes) -> bytes:
    return urlsafe_b64encode(plain).rstrip(b"=")


def _decode_base64(encoded: bytes) -> bytes:
    """Raises ValueError for anything but the one encoding of what comes out (section 2)."""
    plain = binascii.a2b_base64(encoded.translate(_TO_PLAIN_ALPHABET) + b"=" * (-len(encoded) % 4))
    if _encode_base64(plain) != encoded:
        raise ValueError("not base64url")
    return plain


_TO_PLAIN_ALPHABET: Final = bytes.maketrans(b"-_", b"+/")
