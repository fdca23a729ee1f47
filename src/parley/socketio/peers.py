"""Requests that reach another process than the one that holds their session.

A load balancer may send each HTTP request of a polling client, and the
WebSocket that its session moves to, to any process.  The session's id begins
with the name of the process that holds it; that one is asked.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from parley.socketio.engine import Handshake

NODE_LENGTH: Final = 8
"""Characters of a process's name, with which the ids of its sessions begin."""


class PeerGone(Exception):
    """The process that holds the session has ended, or never was."""


class PeerUnreachable(Exception):
    """The process can't be reached at the moment; it may live all the same."""


class UpgradeRefused(Exception):
    """The session can't move: it is no polling session, or another WebSocket is moving it."""


class Poll(msgspec.Struct, frozen=True, array_like=True):
    """A polling request that has passed all checks that need no session."""

    sid: str
    method: str
    """``GET`` or ``POST``."""
    body: bytes = b""


class PollAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What its client is to get."""

    status: int
    body: bytes
    media_type: str


class MovedSocket(msgspec.Struct, frozen=True, array_like=True):
    """A socket of a session that moves."""

    id: str
    namespace: str
    data: bytes
    """What the application needs to go on with it; see :meth:`Namespace.on_move`."""


class MovedSession(msgspec.Struct, frozen=True, array_like=True):
    """A session on its way to the process that received its WebSocket."""

    sid: str
    handshake: Handshake | None
    sockets: list[MovedSocket]
    outbox: list[tuple[bool, bytes]]
    """What its client hasn't fetched yet, in order: whether it is binary, and the packet."""


class Peers(Protocol):
    """The other processes that serve the same clients.

    Each method raises PeerGone or PeerUnreachable.  A call that is cancelled
    is cancelled over there too.
    """

    async def poll(self, request: Poll) -> PollAnswer:
        """Have a polling request answered by the process that holds its session.

        A held GET that is cancelled means that its client has gone.
        """
        ...

    async def begin_upgrade(self, sid: str) -> None:
        """Announce a WebSocket that will take the session over: its polls end soon.

        Raises:
            UpgradeRefused: the session stays as it is.
        """
        ...

    async def abandon_upgrade(self, sid: str) -> None:
        """The WebSocket has gone; the session stays as it is."""
        ...

    async def take_over(self, sid: str) -> MovedSession:
        """Fetch the session: from now on it is the caller's.

        Only after :meth:`begin_upgrade`.  Waits until what its client sent by
        polling has been answered.

        Raises:
            UpgradeRefused: it has ended meanwhile, or took too long to be answered.
        """
        ...


class NoPeers:
    """A process by itself."""

    async def poll(self, request: Poll) -> PollAnswer:
        raise PeerGone

    async def begin_upgrade(self, sid: str) -> None:
        raise PeerGone

    async def abandon_upgrade(self, sid: str) -> None:
        raise PeerGone

    async def take_over(self, sid: str) -> MovedSession:
        raise PeerGone


def node_of(sid: str) -> str:
    """The name of the process that holds the session ``sid``."""
    return sid[:NODE_LENGTH]


