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


class Event(msgspec.Struct, eq=False):
    """One event that a client emitted."""

    socket: Answering
    name: str
    raw: list[msgspec.Raw]
    """The name and the arguments, undecoded."""
    ack_id: int | None = None
    """None also when the acknowledgement has been given."""
    attachments: list[bytes] | None = None

    def __len__(self) -> int:
        """The number of arguments."""
        return len(self.raw) - 1

    @property
    def wants_ack(self) -> bool:
        """The client asked for an acknowledgement, which has not been given yet."""
        return self.ack_id is not None

    def args(self) -> list[Any]:
        """The arguments as Python's own types; attachments are ``bytes``.

        Raises:
            PacketError: not valid JSON; the connection is closed if a handler lets it pass.
        """
        return packets.decode_values(self.raw[1:], self.attachments or ())

    def decode(self, decoder: msgspec.json.Decoder[T], index: int = 0) -> T:
        """One argument, decoded by a typed decoder straight from the wire.

        Raises:
            IndexError: there are fewer arguments.
            msgspec.DecodeError, UnicodeDecodeError, RecursionError: as the decoder does.
        """
        return decoder.decode(self.raw[index + 1])

    def ack(self, *values: object) -> None:
        """Answer the acknowledgement, if one was asked for and not yet given."""
        if self.ack_id is not None:
            ack_id, self.ack_id = self.ack_id, None
            self.socket.send_values(PacketType.ACK, ack_id, values)

    def ack_json(self, array: bytes) -> None:
        """As :meth:`ack`, with the JSON array of the values already encoded."""
        if self.ack_id is not None:
            ack_id, self.ack_id = self.ack_id, None
            self.socket.send_json(PacketType.ACK, ack_id, array)
