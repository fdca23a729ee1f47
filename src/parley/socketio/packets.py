"""Socket.IO protocol v5 packets: their text form and their binary attachments.

Sans-I/O.  See https://github.com/socketio/socket.io-protocol for the format:
``<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]``.  JSON is kept as
bytes here, so that an application can decode it straight into its own types.
"""

from __future__ import annotations

import enum
import json as standard_json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final

import msgspec

MAX_ACK_ID: Final = 2**53 - 1
"""The largest integer that every client can count to (JavaScript's numbers)."""


class PacketType(enum.IntEnum):
    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


class PacketError(ValueError):
    """The input isn't a packet that a client may send; its connection must be closed."""


class Packet(msgspec.Struct, frozen=True):
    """One packet as it came; for a binary one, before its attachments."""

    type: PacketType
    namespace: str
    id: int | None
    """The acknowledgement id, if the packet has one."""
    json: bytes
    """The undecoded JSON text; empty if there is none."""
    attachments: int = 0
    """How many binary packets follow that belong to this one."""


MAX_VALUES: Final = 256
"""Of one event (its name among them) or acknowledgement."""
_ODD_MAX_BYTES: Final = 70_000
"""What is decoded the slow way must be small: it holds up everyone else, by 1 ms for 10 KB."""

_TYPES = tuple(PacketType)
_HEADER = re.compile(rb"([0-6])(?:(\d{1,4})-)?(?:(/[^,]*)(?:,|\Z))?(\d{1,16})?")
_BINARY = (PacketType.BINARY_EVENT, PacketType.BINARY_ACK)

_encode_json = msgspec.json.Encoder().encode
_decode_json = msgspec.json.Decoder().decode
_decode_array: Callable[[bytes], list[msgspec.Raw]] = msgspec.json.Decoder(
    Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MAX_VALUES)]
).decode
_JSON_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode(text: bytes) -> Packet:
    """Read a packet's header.  ``text`` must be valid UTF-8.

    Raises:
        PacketError: no such packet exists.  The JSON is not looked at yet.
    """
    match = _HEADER.match(text)
    if match is None:
        raise PacketError("unknown packet type")
    kind, count, namespace, ack_id = match.groups()
    packet_type = _TYPES[int(kind)]
    if (count is not None) != (packet_type in _BINARY):
        raise PacketError("attachments belong to binary packets, and to no others")
    if ack_id is not None and int(ack_id) > MAX_ACK_ID:
        raise PacketError("acknowledgement id out of range")
    return Packet(
        packet_type,
        "/" if namespace is None else namespace.decode(),
        None if ack_id is None else int(ack_id),
        text[match.end() :],
        0 if count is None else int(count),
    )


def encode(
    packet_type: PacketType,
    namespace: str,
    ack_id: int | None = None,
    json: bytes = b"",
    attachments: int | None = None,
) -> bytes:
    """The text of a packet.  ``attachments`` is given for binary types only."""
    return b"%d%s%s%s%s" % (
        packet_type,
        b"" if attachments is None else b"%d-" % attachments,
        b"" if namespace == "/" else namespace.encode() + b",",
        b"" if ack_id is None else b"%d" % ack_id,
        json,
    )


def encode_values(
    packet_type: PacketType, namespace: str, ack_id: int | None, values: Sequence[object]
) -> tuple[bytes, list[bytes]]:
    """An EVENT or ACK with any values, as text and the attachments that follow it.

    ``bytes``, ``bytearray`` and ``memoryview`` anywhere within lists, tuples
    and dicts become attachments; the packet is then of the binary type.

    Raises:
        TypeError: a value has no JSON form.
    """
    attachments: list[bytes] = []
    json = _encode_json(_take_out(list(values), attachments))
    if not attachments:
        return encode(packet_type, namespace, ack_id, json), attachments
    binary = PacketType.BINARY_EVENT if packet_type is PacketType.EVENT else PacketType.BINARY_ACK
    return encode(binary, namespace, ack_id, json, len(attachments)), attachments


def decode_array(json: bytes) -> list[msgspec.Raw]:
    """The elements of a JSON array, each undecoded.

    Raises:
        PacketError: it isn't a JSON array, or has more than :data:`MAX_VALUES` elements.
    """
    try:
        return _decode_array(json)
    except _JSON_ERRORS as exc:
        if b"\\u" not in json:
            raise PacketError("the payload must be a JSON array") from exc
    return _decode_odd_array(json)


def decode_value(json: bytes | msgspec.Raw) -> Any:
    """Any JSON value as Python's own types.

    Raises:
        PacketError: it isn't JSON.
    """
    try:
        return _decode_json(json)
    except _JSON_ERRORS as exc:
        raise PacketError("the payload is not valid JSON") from exc


def decode_values(raw: Iterable[msgspec.Raw], attachments: Sequence[bytes]) -> list[Any]:
    """Values as Python's own types, with their attachments put in.

    Raises:
        PacketError: bad JSON, or a placeholder without an attachment.
    """
    values = [decode_value(value) for value in raw]
    if not attachments:
        return values
    try:
        return [_put_in(value, attachments) for value in values]
    except RecursionError as exc:
        raise PacketError("the payload is nested too deeply") from exc


def _decode_odd_array(json: bytes) -> list[msgspec.Raw]:
    """For half a surrogate pair, which is valid JSON (RFC 8259 section 8.2) and no Unicode.

    msgspec takes no such array.  The element that has it stays undecodable, so
    that only whoever wants that one fails.
    """
    if len(json) > _ODD_MAX_BYTES:
        raise PacketError("half a surrogate pair in a large packet")
    try:
        values = standard_json.loads(json, parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:
        raise PacketError("the payload must be a JSON array") from exc
    if not isinstance(values, list) or len(values) > MAX_VALUES:
        raise PacketError("the payload must be a JSON array")
    return [msgspec.Raw(standard_json.dumps(value).encode()) for value in values]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _take_out(value: Any, attachments: list[bytes]) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, dict):
        return {key: _take_out(item, attachments) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_take_out(item, attachments) for item in value]
    return value


def _put_in(value: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            number = value.get("num")
            if type(number) is not int or not 0 <= number < len(attachments):
                raise PacketError("a placeholder names no attachment")
            return attachments[number]
        return {key: _put_in(item, attachments) for key, item in value.items()}
    if isinstance(value, list):
        return [_put_in(item, attachments) for item in value]
    return value
