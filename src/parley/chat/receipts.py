"""Delivery marks: tells senders which of their chats have been received.

Those of a sender's devices that follow are told as it happens, as far as the
bus carries it.  What it loses is not repaired, because nothing is lost with it:
the store knows, and can be asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

import msgspec

from parley.chat.ids import parse_uuid
from parley.chat.inbox import Device
from parley.chat.ports import Bus, Receipt, Store
from parley.chat.replies import bad_request, store_unavailable
from parley.errors import StoreUnavailable
from parley.model import ChatId, UserId

MAX_ASKED: Final = 100
"""Chats that one question may name."""

_encode = msgspec.json.Encoder().encode


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """What a sender is told: its receiver has marked a chat received."""

    chatId: ChatId  # noqa: N815 - the wire's name
    receiver: UserId


class DeliveryQuestion(msgspec.Struct, frozen=True):
    """A sender's question: which of these chats have been received?"""

    receiver: str
    chatIds: Annotated[list[str], msgspec.Meta(max_length=MAX_ASKED)]  # noqa: N815 - as above


class Receipts:
    """Who on this node wants to hear of receipts, and how they do."""

    def __init__(self, store: Store, bus: Bus, encode: Callable[[Delivered], bytes]) -> None:
        """``encode`` makes the packet that tells a device."""
        self._store = store
        self._bus = bus
        self._encode = encode
        self._devices: dict[UserId, tuple[Device, ...]] = {}
        """Those that follow; being told may change this, so each value is replaced as a whole."""
        self.pushed = 0
        """Packets handed to devices."""

    def follow(self, user: UserId, device: Device) -> None:
        """From now on ``device`` is told when what ``user`` sent is received for the first time.

        Its inbox must be open, here, for as long.
        """
        if not self._devices:
            self._bus.listen(self._hear)
        self._devices[user] = (*self._devices.get(user, ()), device)

    def unfollow(self, user: UserId, device: Device) -> None:
        """``device`` is told nothing more; harmless if it doesn't follow."""
        devices = self._devices.pop(user, None)
        if devices is None:
            return
        left = tuple(each for each in devices if each is not device)
        if left:
            self._devices[user] = left
        elif not self._devices:
            self._bus.listen(None)

    def tell(self, sender: UserId, receipt: Receipt) -> None:
        """The first receipt of a chat has been committed: let its sender's devices know."""
        if self._bus.listened:
            self._bus.notify(sender, self._encode(Delivered(receipt.chat_id, receipt.user)))

    async def delivered(self, sender: UserId, question: DeliveryQuestion) -> bytes:
        """A JSON array of those ids whose chats ``sender`` sent and that have been received.

        In the order of the question.  Those that are missing may be unknown, somebody else's or
        not received yet: the answer is the same.

        Raises:
            ChatError: BAD_REQUEST or STORE_UNAVAILABLE.
        """
        receiver = parse_uuid(question.receiver)
        if receiver is None:
            raise bad_request("receiver must be the UUID of a user")
        asked = [ChatId(each) for each in map(parse_uuid, question.chatIds) if each is not None]
        if len(asked) < len(question.chatIds):
            raise bad_request("chatIds must be the UUIDs of chats")
        try:
            found = await self._store.delivered(sender, UserId(receiver), asked)
        except StoreUnavailable as exc:
            raise store_unavailable() from exc
        return _encode([each for each in asked if each in found])

    @property
    def followers(self) -> int:
        """Users of whom a device is told of receipts."""
        return len(self._devices)

    def _hear(self, sender: UserId, packet: bytes) -> None:
        for device in self._devices.get(sender, ()):
            device.send(packet)
            self.pushed += 1
