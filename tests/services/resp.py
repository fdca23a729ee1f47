"""Redis' protocol, as far as a proxy must know it: where one reply ends."""

from __future__ import annotations

_TEXTS = b"$=!"
_LISTS = b"*~>"
_MAPS = b"%|"


def split(stream: bytes) -> tuple[list[bytes], bytes]:
    """The whole replies at the beginning of a stream, and what is left."""
    replies, start = [], 0
    while (end := _end(stream, start)) is not None:
        replies.append(stream[start:end])
        start = end
    return replies, stream[start:]


def is_message(reply: bytes) -> bool:
    """True if the reply brings a message that was published on a channel."""
    return reply[:1] in (b"*", b">") and reply.split(b"\r\n", 3)[2:3] in (
        [b"message"],
        [b"smessage"],
    )


def _end(stream: bytes, start: int) -> int | None:
    """Where the reply at ``start`` ends; None if it isn't there as a whole."""
    line_end = stream.find(b"\r\n", start)
    if line_end < 0:
        return None
    kind, end = stream[start], line_end + 2
    if kind in _TEXTS:
        size = int(stream[start + 1 : line_end])
        end += size + 2 if size >= 0 else 0
        return end if end <= len(stream) else None
    parts = 0
    if kind in _LISTS:
        parts = int(stream[start + 1 : line_end])
    elif kind in _MAPS:
        # What an attribute ("|") is about follows it.
        parts = 2 * int(stream[start + 1 : line_end]) + (kind == ord("|"))
    for _ in range(parts):
        inner = _end(stream, end)
        if inner is None:
            return None
        end = inner
    return end
