"""WebSocket frames (RFC 6455, section 5), the server's side: bytes in, messages out.

Nothing here does I/O or knows what a message means.  What a client may do
wrong never raises: it is kept as one :class:`Failure`, whose code belongs in
the Close frame that fails the connection (section 7.1.7).  No extension is
negotiated, so a reserved bit is always an error.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

try:
    from websockets.speedups import apply_mask
except ImportError:  # Its C extension is optional.
    from websockets.utils import apply_mask


class Opcode(enum.IntEnum):
    """What a frame carries (section 5.2); CLOSE, PING and PONG are control frames."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(enum.IntEnum):
    """The close codes that this server sends (section 7.4.1 and the IANA registry)."""

    NORMAL = 1000
    """The purpose of the connection is fulfilled."""
    GOING_AWAY = 1001
    """The server shuts down, or the client leaves the page."""
    PROTOCOL_ERROR = 1002
    """The peer broke RFC 6455."""
    UNSUPPORTED = 1003
    """A kind of data that is not accepted here, such as binary."""
    INVALID_DATA = 1007
    """Text that is not UTF-8."""
    POLICY = 1008
    """A rule of this server was broken, and no other code fits."""
    TOO_BIG = 1009
    """A message larger than the server accepts."""
    INTERNAL_ERROR = 1011
    """A fault of the server."""
    SERVICE_RESTART = 1012
    """The server restarts; reconnect after a short random while."""
    TRY_AGAIN = 1013
    """The server is overloaded; reconnect later."""


Message: TypeAlias = tuple[Opcode | int, bytes]
"""A whole TEXT or BINARY message, or a PING, PONG or CLOSE, with its unmasked payload.

The payload of TEXT is valid UTF-8.  The parser gives members of :class:`Opcode`.
"""

NO_CODE: Final = 1005
"""Stands for a Close frame without a code; never on the wire (section 7.1.5)."""
MAX_EMPTY_FRAGMENTS: Final = 1024
"""How many fragments of a message may be empty; its size bounds the others."""
TURN_BYTES: Final = 32_768
"""Of one input.  Frames that begin behind them wait for the next call: tiny ones by the
ten-thousands would hold up everyone else."""

_FIN = 0x80
_RESERVED_BITS = 0x70
_OPCODE_BITS = 0x0F
_CONTROL_BIT = 0x08
_MASKED = 0x80
_FIN_TEXT = _FIN | Opcode.TEXT

# The two markers for a longer length: how to read it, its size, and the least that may use it.
_LONG_LENGTHS = {
    126: (struct.Struct("!H").unpack_from, 2, 126),
    127: (struct.Struct("!Q").unpack_from, 8, 1 << 16),
}
_HEADER = struct.Struct("!BB")
_HEADER_16 = struct.Struct("!BBH")
_HEADER_64 = struct.Struct("!BBQ")
_MAX_CONTROL_PAYLOAD = 125
_WIRE_CODES = (range(1000, 1004), range(1007, 1015), range(3000, 5000))

# Looking a member up in its enum class costs several times as much.
_TEXT = Opcode.TEXT
_OPCODES = {int(opcode): opcode for opcode in Opcode}

_UNFINISHED = -1


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the connection must be failed: the contents of the Close frame to send."""

    code: CloseCode
    reason: str


class FrameParser:
    """Turns the bytes of one client into messages.

    Between calls it holds at most ``max_message`` + 130 bytes of input: a
    message, and an unfinished frame that may stand amid its fragments; and what
    it has put off, see :attr:`more`.  It never holds more than has arrived,
    whatever length a header announces, and no buffer at all while nothing is
    unfinished.  The work is linear in the input, however that is cut.
    """

    __slots__ = (
        "_empty_fragments",
        "_ended",
        "_max_message",
        "_message",
        "_message_opcode",
        "_pending",
        "_room",
        "_wanted",
        "close_code",
        "close_reason",
        "failure",
        "more",
    )

    def __init__(self, max_message: int) -> None:
        """``max_message`` is in bytes, of a whole message with its fragments joined."""
        self.failure: Failure | None = None
        """Set once; from then on all input is ignored."""
        self.close_code: int | None = None
        """Of the Close frame received: None before, 1005 if it had no code (section 7.1.5)."""
        self.close_reason: str | None = None
        """Of the Close frame received: None before, empty if it had none (section 7.1.6)."""
        self.more = False
        """Input was put off: feed again, be it nothing, once others have had their turn."""
        self._ended = False
        self._pending: bytearray | None = None  # An unfinished frame, from its first byte on.
        self._wanted = 2  # Looking at a shorter _pending is of no use.
        self._message: bytearray | None = None  # The fragments so far.
        self._message_opcode = _TEXT
        self._empty_fragments = 0
        self._max_message = max_message
        self._room = max_message  # What the next data frame may hold.

    def feed(self, data: bytes) -> list[Message]:
        """Take the next bytes; return the messages that they complete, in order.

        Never raises.  Look at :attr:`failure` afterwards: messages completed
        before it in the same ``data`` are returned.  After a failure or a
        Close frame all input is ignored (sections 7.1.7 and 1.4).

        Of a large input only the frames that begin within its first
        :data:`TURN_BYTES` are taken; :attr:`more` tells of others.

        A message over ``max_message`` fails by the header that announces it.
        Text is checked for UTF-8 (section 8.1) when its message is complete.
        """
        messages: list[Message] = []
        if self._ended:
            return messages
        buffer: bytes | bytearray = data
        pending = self._pending
        if pending is not None:
            self.more = False
            pending += data
            if len(pending) < self._wanted:
                return messages
            buffer = pending
        position = 0
        size = len(buffer)
        stop = min(TURN_BYTES, size)
        while stop - position >= 2:
            end = self._take_frame(buffer, position, size, messages)
            if end == _UNFINISHED:
                break
            position = end
        else:
            self._wanted = 2
            if stop < size:
                self.more = size - position >= 2
        if position == size:
            self._pending = None
        elif pending is None:
            self._pending = bytearray(data[position:])
        else:
            del pending[:position]
        return messages

    def _take_frame(
        self, data: bytes | bytearray, start: int, size: int, messages: list[Message]
    ) -> int:
        """Take the frame at ``start``; return where the next one starts.

        That is ``size`` when the connection has ended, as the rest is to be
        ignored, and ``_UNFINISHED`` when ``_wanted`` says how much is missing.
        """
        first = data[start]
        length = data[start + 1] - _MASKED
        mask_at = start + 2
        # The commonest frame, a whole masked text, needs none of these checks.
        if first != _FIN_TEXT or length < 0 or self._message is not None:
            fault = self._header_fault(first, length)
            if fault:
                self._fail(CloseCode.PROTOCOL_ERROR, fault)
                return size
        if length >= 126:
            read, width, least = _LONG_LENGTHS[length]
            mask_at += width
            if size < mask_at:
                self._wanted = 2 + width
                return _UNFINISHED
            (length,) = read(data, start + 2)
            if length < least or length >> 63:
                self._fail(CloseCode.PROTOCOL_ERROR, "invalid payload length")
                return size
        if length > self._room and not first & _CONTROL_BIT:
            self._fail(CloseCode.TOO_BIG, f"message over {self._max_message} bytes")
            return size
        payload_at = mask_at + 4
        end = payload_at + length
        if end > size:
            self._wanted = end - start
            return _UNFINISHED
        payload = apply_mask(data[payload_at:end], data[mask_at:payload_at])
        if first != _FIN_TEXT:
            self._take_payload(first, payload, messages)
        elif payload.isascii():  # Much cheaper than decoding.
            messages.append((_TEXT, payload))
            return end
        else:
            self._complete(_TEXT, payload, messages)
        return size if self._ended else end

    def _header_fault(self, first: int, length: int) -> str:
        """What the first two bytes of a frame break of sections 5.1 to 5.5, or ``""``."""
        opcode = first & _OPCODE_BITS
        control = opcode & _CONTROL_BIT
        fault = ""
        if first & _RESERVED_BITS:
            fault = "reserved bit set"
        elif opcode not in _OPCODES:
            fault = "unknown opcode"
        elif length < 0:
            fault = "frame not masked"
        elif control and not first & _FIN:
            fault = "fragmented control frame"
        elif control and length > _MAX_CONTROL_PAYLOAD:
            fault = "control frame too long"
        elif not opcode and self._message is None:
            fault = "continuation of nothing"
        elif opcode and not control and self._message is not None:
            fault = "new message inside a fragmented one"
        return fault

    def _take_payload(self, first: int, payload: bytes, messages: list[Message]) -> None:
        opcode = _OPCODES[first & _OPCODE_BITS]
        if opcode is Opcode.CLOSE:
            self._take_close(payload, messages)
        elif opcode & _CONTROL_BIT:
            messages.append((opcode, payload))
        elif first & _FIN and opcode:
            self._complete(opcode, payload, messages)
        else:
            self._take_fragment(first, payload, messages)

    def _take_fragment(self, first: int, payload: bytes, messages: list[Message]) -> None:
        message = self._message
        if message is None:
            # Joined as they come: a list would cost far more than the bytes in it.
            message = self._message = bytearray()
            self._message_opcode = _OPCODES[first & _OPCODE_BITS]
            self._empty_fragments = 0
        message += payload
        self._room -= len(payload)
        self._empty_fragments += not payload
        if self._empty_fragments > MAX_EMPTY_FRAGMENTS:
            self._fail(CloseCode.POLICY, "too many empty fragments")
        elif first & _FIN:
            self._message = None
            self._room = self._max_message
            self._complete(self._message_opcode, bytes(message), messages)

    def _complete(self, opcode: Opcode, payload: bytes, messages: list[Message]) -> None:
        if opcode is _TEXT:
            try:
                payload.decode()
            except UnicodeDecodeError:
                self._fail(CloseCode.INVALID_DATA, "text is not UTF-8")
                return
        messages.append((opcode, payload))

    def _take_close(self, payload: bytes, messages: list[Message]) -> None:
        # A payload of one byte reads as a code below 256: invalid, as it has to be.
        code = int.from_bytes(payload[:2], "big") if payload else NO_CODE
        if payload and not _is_wire_code(code):
            self._fail(CloseCode.PROTOCOL_ERROR, "invalid close code")
            return
        try:
            self.close_reason = payload[2:].decode()
        except UnicodeDecodeError:
            self._fail(CloseCode.INVALID_DATA, "close reason is not UTF-8")
            return
        self.close_code = code
        self._end()
        messages.append((Opcode.CLOSE, payload))

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.failure = Failure(code, reason)
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._message = None


def _is_wire_code(code: int) -> bool:
    return any(code in codes for codes in _WIRE_CODES)


def text_header(length: int) -> bytes:
    """As :func:`frame_header` for a text, and faster."""
    return _TEXT_HEADERS[length] if length < _SHORT else frame_header(_TEXT, length)


def frame_header(opcode: Opcode | int, length: int) -> bytes:
    """The header of an unmasked frame with FIN set (section 5.2); ``length`` is in bytes.

    For a caller that joins header, prefix and payload in one go.  ValueError
    for a control frame over 125 bytes (section 5.5).
    """
    if length <= _MAX_CONTROL_PAYLOAD:
        return _HEADER.pack(_FIN | opcode, length)
    if opcode & _CONTROL_BIT:
        raise ValueError(f"control frame of {length} bytes")
    if length < 1 << 16:
        return _HEADER_16.pack(_FIN | opcode, 126, length)
    return _HEADER_64.pack(_FIN | opcode, 127, length)


_SHORT: Final = 1024
_TEXT_HEADERS: Final = tuple(frame_header(_TEXT, length) for length in range(_SHORT))


def encode_frame(opcode: Opcode | int, payload: bytes) -> bytes:
    """One whole, unmasked frame; ValueError as in :func:`frame_header`."""
    return frame_header(opcode, len(payload)) + payload


def encode_close(code: CloseCode | int, reason: str = "") -> bytes:
    """A Close frame (section 5.5.1); ``reason`` is cut to 123 bytes at a character border.

    1005 gives a frame with neither, so that a received code can be echoed as
    it is.  ValueError for any other code that must not be sent (section 7.4).
    """
    if code == NO_CODE:
        return encode_frame(Opcode.CLOSE, b"")
    if not _is_wire_code(code):
        raise ValueError(f"close code {code} must not be sent")
    text = reason.encode(errors="replace")[: _MAX_CONTROL_PAYLOAD - 2].decode(errors="ignore")
    return encode_frame(Opcode.CLOSE, code.to_bytes(2, "big") + text.encode())
