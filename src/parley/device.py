"""A connected client, as the gateway knows it; and what of it goes along to another process."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, Self

import msgspec

from parley.chat.auth import Identity
from parley.chat.inbox import Inbox
from parley.model import UserId
from parley.socketio.deadlines import Timed
from parley.socketio.namespaces import Socket


class TokenWatch(Protocol):
    """Whoever looks at tokens again while their clients are connected: the gateway."""

    def check_token(self, device: Device) -> None:
        """Disconnect a client whose token is of no use any more."""


class MovedDevice(msgspec.Struct, frozen=True, array_like=True):
    """A connected client on its way to another process."""

    user: UserId
    expires_at: float | None
    seen: int
    """The position in the user's inbox up to which it has been pushed everything."""
    follows: bool = False
    """It asked to be told of receipts."""
    issued_at: float | None = None

    @property
    def identity(self) -> Identity:
        """What its token said."""
        return Identity(self.user, self.expires_at, self.issued_at)

    @classmethod
    def read(cls, data: bytes) -> Self:
        """What :meth:`Device.export` made.  Raises ``msgspec.MsgspecError`` for anything else."""
        return msgspec.msgpack.decode(data, type=cls)


_encode: Final = msgspec.msgpack.Encoder().encode


class Device(Timed):
    """A connected client, kept as its socket's data.  It is due when its token expires."""

    __slots__ = ("answering", "follows", "identity", "inbox", "socket", "submitted", "watch")

    def __init__(self, watch: TokenWatch, socket: Socket, inbox: Inbox, identity: Identity) -> None:
        super().__init__()
        self.watch = watch
        self.socket = socket
        self.inbox = inbox
        self.identity = identity
        self.follows = False
        """It is told when what its user sent is received."""
        self.answering: asyncio.Task[None] | None = None
        """What it asked for is being read."""
        self.submitted = 0
        """How far the service must have come to have done what this client asked for."""

    def due(self) -> None:
        self.watch.check_token(self)

    def export(self) -> bytes:
        """For :meth:`MovedDevice.read`; has no effect here."""
        inbox, token = self.inbox, self.identity
        assert inbox.position is not None
        moved = MovedDevice(
            inbox.owner, token.expires_at, inbox.position, self.follows, token.issued_at
        )
        return _encode(moved)
