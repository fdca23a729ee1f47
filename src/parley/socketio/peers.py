"""The other processes that serve the same clients.

A load balancer may send each HTTP request of a polling client, and the
WebSocket that its session moves to, to any process.  The session's id begins
with the name of the process on which it began; that one is asked.

:class:`Peers` is a port: an application that runs in one process needs none,
one that runs in several brings an implementation.  At its other end each
process answers by a :class:`~parley.socketio.peer_server.PeerServer`.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Protocol

import msgspec

from parley.socketio.handshake import Handshake

NODE_LENGTH: Final = 8
"""Characters of a process's name, with which the ids of its sessions begin."""
RANDOM_BYTES: Final = 15
"""Of a session id, after the name; four characters for each three."""

_ID: Final = re.compile(rf"[\w-]{{{NODE_LENGTH + RANDOM_BYTES // 3 * 4}}}", re.ASCII)


class PeerGone(Exception):
    """The process on which the session began has ended, or never was."""


class PeerUnreachable(Exception):
    """That process can't be reached at the moment; it may live all the same."""


class UpgradeRefused(Exception):
    """The session can't move: it has ended, is no polling session, or another WebSocket is
    moving it."""


class Poll(msgspec.Struct, frozen=True, array_like=True):
    """A polling request that has passed all checks that need no session."""

    sid: str
    method: str
    """``GET`` or ``POST``."""
    body: bytes = b""


class PollAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What its client is to get."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)]
    body: bytes
    media_type: Annotated[str, msgspec.Meta(pattern="^[!-~ ]+$")]


class MovedSocket(msgspec.Struct, frozen=True, array_like=True):
    """A socket of a session that moves."""

    id: str
    namespace: str
    data: bytes
    """What the application needs to go on with it; see :meth:`Namespace.on_move`."""
    last_ack: int
    """The last id under which its client was asked for an acknowledgement.

    Whoever waited for one has been told that it won't come.
    """


class MovedConnection(msgspec.Struct, frozen=True, array_like=True):
    """What is Socket.IO's of a session that moves."""

    sockets: list[MovedSocket]
    dismissed: list[str]
    """Namespaces from which the server disconnected it; its client may not know yet."""
    incomplete: list[tuple[bool, bytes]]
    """A message whose attachments have not all come: whether it is binary, and each part."""


class MovedSession(msgspec.Struct, frozen=True, array_like=True):
    """A session on its way to the process that received its WebSocket."""

    sid: str
    handshake: Handshake | None
    """Absent once it isn't needed any more; see :attr:`Options.keep_handshake`."""
    connection: MovedConnection
    outbox: list[tuple[bool, bytes]]
    """What its client hasn't fetched yet, in order: whether it is binary, and the packet."""


class Peers(Protocol):
    """The processes that hold the sessions, by the sessions' ids.

    Each method raises PeerGone or PeerUnreachable if it gets no answer.  A
    call that is cancelled is cancelled over there too; so is one whose caller
    can't be reached any more.
    """

    async def poll(self, request: Poll) -> PollAnswer:
        """Have a polling request answered by the process that holds its session.

        One that is cancelled means that its client has gone: its session ends.
        """
        ...

    async def end_poll(self, sid: str) -> None:
        """Have the GET that is held over there answered now, with a noop if with nothing else.

        It must not overtake the :meth:`poll` that it ends.
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
        polling has been answered.  If it fails, the upgrade is abandoned.

        Raises:
            UpgradeRefused: it has ended meanwhile, or took too long to be answered.
        """
        ...


class NoPeers:
    """A process by itself."""

    async def poll(self, request: Poll) -> PollAnswer:
        raise PeerGone

    async def end_poll(self, sid: str) -> None:
        raise PeerGone

    async def begin_upgrade(self, sid: str) -> None:
        raise PeerGone

    async def abandon_upgrade(self, sid: str) -> None:
        raise PeerGone

    async def take_over(self, sid: str) -> MovedSession:
        raise PeerGone


def node_of(sid: str) -> str:
    """The name of the process on which the session ``sid`` began; empty if that is no such id."""
    return sid[:NODE_LENGTH] if _ID.fullmatch(sid) else ""
