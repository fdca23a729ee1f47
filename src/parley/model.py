"""The values that Parley is about; immutable, and known to every layer."""

from __future__ import annotations

import enum
from typing import NewType

import msgspec

UserId = NewType("UserId", str)
"""A user's UUID in canonical form: 36 characters, lower case."""

ChatId = NewType("ChatId", str)
"""A chat's UUID in canonical form."""


class Chat(msgspec.Struct, frozen=True, gc=False):
    """One stored message.  On the wire these are its keys, exactly and in this order."""

    id: ChatId
    sender: UserId
    receiver: UserId
    message: str
    createdAt: int  # noqa: N815 - the wire's name; milliseconds since the Unix epoch
    received: bool


class EntryKind(enum.IntEnum):
    """What an inbox entry tells its owner."""

    MESSAGE = 1


class InboxEntry(msgspec.Struct, frozen=True, gc=False):
    """One position of a user's inbox.

    ``seq`` starts at 1 for each owner and has no gaps: whoever has seen
    ``seq - 1`` and sees ``seq`` has missed nothing.
    """

    owner: UserId
    seq: int
    kind: EntryKind
    chat: Chat
