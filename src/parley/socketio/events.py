"""Events that clients emit."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import msgspec

from parley.socketio import packets
from parley.socketio.packets import PacketType

T = TypeVar("T")


class Answering(Protocol):
    """The socket by which an event came."""

    def send_values(
        self, packet_type: PacketType, ack_id: int | None, values: tuple[object, ...]
    ) -> None:
        """Send a packet with any values."""

    def send_json(self, packet_type: PacketType, ack_id: int | None, array: bytes) -> None:
        """Send a packet with the JSON array of its values."""


class Event:
    """One event that a client emitted."""

    __slots__ = ("_attachments", "_id", "_raw", "_socket", "binary", "name", "wants_ack")

    def __init__(
        self,
        socket: Answering,
        name: str,
        raw: list[msgspec.Raw],
        ack_id: int | None,
        attachments: list[bytes] | None,
    ) -> None:
        self.name = name
        self._socket = socket
        self._raw = raw
        self._id = ack_id
        self._attachments = attachments
        self.binary = bool(attachments)
        """Attachments came with it."""
        self.wants_ack = ack_id is not None
        """The client asked for an acknowledgement, which has not been given yet."""

    def __len__(self) -> int:
        """The number of arguments."""
        return len(self._raw) - 1

    def args(self) -> list[Any]:
        """The arguments as Python's own types; attachments are ``bytes``.

        Raises:
            PacketError: not valid JSON; the connection is closed if a handler lets it pass.
        """
        return packets.decode_values(self._raw[1:], self._attachments or ())

    def decode(self, decoder: msgspec.json.Decoder[T], index: int = 0) -> T:
        """One argument, decoded by a typed decoder straight from the wire.

        Raises:
            IndexError: there are fewer arguments.
            msgspec.DecodeError, UnicodeDecodeError, RecursionError: as the decoder does.
        """
        return decoder.decode(self._raw[index + 1])

    def ack(self, *values: object) -> None:
        """Answer the acknowledgement, if one was asked for and not yet given."""
        if self.wants_ack:
            self.wants_ack = False
            self._socket.send_values(PacketType.ACK, self._id, values)

    def ack_json(self, array: bytes) -> None:
        """As :meth:`ack`, with the JSON array of the values already encoded."""
        if self.wants_ack:
            self.wants_ack = False
            self._socket.send_json(PacketType.ACK, self._id, array)
