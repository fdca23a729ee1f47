"""What is published on a channel: one push or notice, behind a head of 17 bytes.

====== ======= ==========================================================
offset bytes   meaning
====== ======= ==========================================================
0      1       the version of this format, 1
1      8       the tag of the bus that published it, chosen at random
9      8       the push's ``seq``, an unsigned number, big-endian; 0: a notice
17     rest    the packet
====== ======= ==========================================================

Sans-I/O.
"""

from __future__ import annotations

import secrets
from struct import Struct
from typing import Final

MAX_SEQ: Final = 2**63 - 1
"""What the store can count to."""

NOTICE: Final = 0
"""Stands where a push has its ``seq``, which begins with 1."""

TAGGED: Final = 9
"""Bytes of a payload that tell who published it."""

_HEAD: Final = Struct(">B8sQ")
_FOREIGN: Final = Struct(">B8xQ")
_VERSION: Final = 1


class PayloadFormat:
    """Packs payloads, and knows those of its own."""

    def __init__(self) -> None:
        self._tag = secrets.token_bytes(8)
        self.own: Final = bytes([_VERSION]) + self._tag
        """How every payload that this packs begins."""

    def head(self, seq: int) -> bytes:
        """What goes before the packet."""
        return _HEAD.pack(_VERSION, self._tag, seq)


def unpack(payload: object) -> tuple[int, bytes] | None:
    """The ``seq`` and the packet in a payload, which may be anything; None if they aren't.

    The ``seq`` of a notice is NOTICE.
    """
    if type(payload) is not bytes or len(payload) < _FOREIGN.size:
        return None
    version, seq = _FOREIGN.unpack_from(payload)
    if version != _VERSION or not NOTICE <= seq <= MAX_SEQ:
        return None
    return seq, payload[_FOREIGN.size :]
