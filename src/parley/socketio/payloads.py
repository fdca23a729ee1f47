"""Engine.IO payloads: the packets of one long-polling request or answer.  Sans-I/O.

See https://github.com/socketio/engine.io-protocol#http-long-polling-1.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

MAX_PACKETS: Final = 10_000
"""Of one payload that a client sends."""
_SEPARATOR: Final = b"\x1e"
_BINARY: Final = b"b"


class PayloadError(ValueError):
    """A polling request's body isn't a payload."""


def decode_payload(body: bytes) -> list[tuple[bool, bytes]]:
    """The packets of a payload, in order, as by :func:`decode_packet`.

    Raises:
        PayloadError: not UTF-8, an empty packet, too many, or bad base64.
    """
    if body.count(_SEPARATOR) >= MAX_PACKETS:
        raise PayloadError("too many packets")
    try:
        if not body.isascii():
            body.decode()
    except UnicodeDecodeError as exc:
        raise PayloadError("not UTF-8") from exc
    return [decode_packet(packet) for packet in body.split(_SEPARATOR)]


def decode_packet(packet: bytes) -> tuple[bool, bytes]:
    """One packet as ``(is_binary, content)``.

    Raises:
        PayloadError: it is empty, or bad base64.
    """
    if not packet:
        raise PayloadError("empty packet")
    if not packet.startswith(_BINARY):
        return False, packet
    try:
        return True, base64.b64decode(packet[1:], validate=True)
    except binascii.Error as exc:
        raise PayloadError("bad base64") from exc


def encode_payload(packets: list[bytes]) -> bytes:
    """Join packets; a binary one in the form of :func:`encode_binary`."""
    return _SEPARATOR.join(packets)


def encode_binary(content: bytes) -> bytes:
    """A binary message as a packet of a payload."""
    return _BINARY + base64.b64encode(content)
