"""WebSocket frames as clients send them, RFC 6455 section 5, and as they must not."""

from __future__ import annotations

import itertools
from typing import Final

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_MASK: Final = b"\x37\xfa\x21\x3d"


def encode_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    masked: bool = True,
    announced: int | None = None,
    form: int = 0,
) -> bytes:
    """A frame.

    ``announced`` is a length that isn't the payload's, ``form`` how many bytes of length there
    are at least.
    """
    length = len(payload) if announced is None else announced
    form = max(form, 0 if length < 126 else 2 if length < 1 << 16 else 8)
    short = {0: length, 2: 126, 8: 127}[form]
    head = bytes([final << 7 | reserved << 4 | opcode, masked << 7 | short])
    head += length.to_bytes(form, "big") if form else b""
    if not masked:
        return head + payload
    return head + _MASK + bytes(a ^ b for a, b in zip(payload, itertools.cycle(_MASK)))
