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

    __slots__ = ("_attachments", "_id", "_raw", "_socket", "name")

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

    def __len__(self) -> int:
        """The number of arguments."""
        return len(self._raw) - 1

    @property
    def wants_ack(self) -> bool:
        """True until the acknowledgement that the client asked for is given."""
        return self._id is not None

    @property
    def binary(self) -> bool:
        """True if attachments came with it."""
        return bool(self._attachments)

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
        ack_id, self._id = self._id, None
        if ack_id is not None:
            self._socket.send_values(PacketType.ACK, ack_id, values)

    def ack_json(self, array: bytes) -> None:
        """As :meth:`ack`, with the JSON array of the values already encoded."""
        ack_id, self._id = self._id, None
        if ack_id is not None:
            self._socket.send_json(PacketType.ACK, ack_id, array)
