"""What two nodes say to one another; bytes in, values and bytes out.

A link begins with proofs of fixed sizes, which show each side that the other
knows the key of the node that is called::

    node    → caller    MAGIC, 32 random bytes
    caller  → node      32 random bytes, HMAC-SHA256(key, CALLER + both)
    node    → caller    HMAC-SHA256(key, NODE + both), or REFUSAL and the end

After that come frames: four bytes of length, most significant first, and a
:data:`Message` as MessagePack.  They are not encrypted.
"""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

MAGIC: Final = b"PARLEY/1"
"""The digit is the version of all this."""
NONCE_SIZE: Final = 32
GREETING_SIZE: Final = len(MAGIC) + NONCE_SIZE
PROOF_SIZE: Final = 32
REFUSAL: Final = bytes(PROOF_SIZE)
CALLER: Final = b"caller"
NODE: Final = b"node"

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding anything may raise."""

_HEADER: Final = 4


class WireError(Exception):
    """What arrived is nothing that a node would send."""


class TooLarge(Exception):
    """A message is larger than a frame may be."""


class Call(msgspec.Struct, frozen=True, array_like=True, tag=0, gc=False):
    """Have a method run; an :class:`Answer` or a :class:`Failed` with its ``id`` follows."""

    id: int
    method: str
    body: bytes


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """Nobody waits for that call's answer any more."""

    id: int


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """What the method returned."""

    id: int
    body: bytes


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """The name of what it raised instead."""

    id: int
    error: str


class Beat(msgspec.Struct, frozen=True, array_like=True, tag=4, gc=False):
    """The sender lives."""


Message = Call | Cancel | Answer | Failed | Beat

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def proof(key: bytes, role: bytes, nonces: bytes) -> bytes:
    """Shows that the side ``role`` knows the key; good for the link of these ``nonces`` only."""
    return hmac.digest(key, role + nonces, "sha256")


def encode(message: Message, max_frame: int) -> bytearray:
    """The message's frame.  Raises TooLarge."""
    frame = bytearray(_HEADER)
    _encoder.encode_into(message, frame, _HEADER)
    length = len(frame) - _HEADER
    if length > max_frame:
        raise TooLarge
    frame[:_HEADER] = length.to_bytes(_HEADER, "big")
    return frame


class FrameReader:
    """Takes bytes as they arrive; holds one unfinished frame at most."""

    def __init__(self, max_frame: int) -> None:
        self._max_frame = max_frame
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes.

        Raises:
            WireError: nothing further can be read.
        """
        self._buffer += data
        messages: list[Message] = []
        start = 0
        with memoryview(self._buffer) as view:
            while len(view) - start >= _HEADER:
                begin = start + _HEADER
                length = int.from_bytes(view[start:begin], "big")
                if length > self._max_frame:
                    raise WireError(f"a frame of {length} bytes")
                if len(view) - begin < length:
                    break
                start = begin + length
                messages.append(_decode(view[begin:start]))
        del self._buffer[:start]
        return messages


def _decode(frame: memoryview) -> Message:
    try:
        return _decoder.decode(frame)
    except UNREADABLE as error:
        raise WireError(f"an unreadable frame: {error}") from error
