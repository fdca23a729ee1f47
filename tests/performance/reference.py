"""A loop that CPU time is measured in.

It does what a server does for a message: decodes and encodes JSON, calls
methods, keeps and drops small objects.  So a faster machine, or a faster
Python, is about as much faster at both.  A change here changes all budgets of
CPU time.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

STEPS: Final = 500


class _Draft(msgspec.Struct):
    receiver: str
    message: str


_decode = msgspec.json.Decoder(_Draft).decode
_encode = msgspec.json.Encoder().encode
_PACKET: Final = _encode(_Draft("4f0c1a52-8a3e-4c8e-9b1d-0d9a4f6f2f10", "x" * 100))


class _Box:
    def __init__(self) -> None:
        self._held: dict[int, bytes] = {}

    def put(self, number: int, packet: bytes) -> None:
        self._held[number % 64] = packet

    def take(self, number: int) -> list[bytes]:
        return [packet for packet in (self._held.pop(number % 64, None),) if packet]


def reference_seconds() -> float:
    """The CPU time of this process that one step takes."""
    began = time.process_time()
    box, out = _Box(), bytearray()
    for number in range(STEPS):
        draft = _decode(_PACKET)
        box.put(number, b"%d%s" % (len(draft.message), _encode(draft)))
        for packet in box.take(number):
            out += packet
        if len(out) > 4096:
            out.clear()
    return (time.process_time() - began) / STEPS
