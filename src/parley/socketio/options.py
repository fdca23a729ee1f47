"""What an application may set."""

from __future__ import annotations

from typing import Final

import msgspec

from parley.socketio.limits import RateLimits

_LEAST_WEIGHT: Final = 64
"""What keeping a packet costs, be it empty."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds and deadlines of every session.  Times in seconds, sizes in bytes."""

    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    max_payload: int = 1_000_000
    """Of one message, of one polling request's body, or of all attachments of one packet."""
    connect_timeout: float = 20.0
    """By then a client must have joined a namespace."""
    upgrade_timeout: float = 10.0
    """By then a probing WebSocket must have completed its upgrade, and then, if the session
    has to come from another process, that must have handed it over, and our handlers must
    have restored it."""
    close_timeout: float = 5.0
    """By then a peer must have answered our WebSocket Close frame."""
    max_outbox: int = 4 * 1024 * 1024
    """A client that lets more than this wait for it is disconnected."""
    max_in_flight: int = 512
    """Unanswered events of one client, after which it isn't read for a while."""
    max_attachments: int = 10
    """Of one binary packet."""
    max_namespaces: int = 16
    """One session's, joined and refused."""
    max_acks: int = 1_000
    """Acknowledgements of one socket that the server waits for."""
    attachment_timeout: float = 10.0
    """By then all attachments of a packet must have followed it."""
    origins: frozenset[str] = frozenset()
    """Origins of web pages that may connect, besides the server's own; ``*`` is any."""
    limits: RateLimits = RateLimits()
    """How fast clients may send and connect; without any by default."""
    encrypted: bool = False
    """Clients speak TLS with this server itself, rather than with a proxy or not at all."""
    keep_handshake: bool = True
    """Keep request headers after the first namespace is joined (about 1 KB a session)."""

    def outbox_weight(self, packet: bytes) -> int:
        """What a packet counts for in ``max_outbox``: its size, and at most a quarter of it.

        A large answer that a client asked for is no sign that it doesn't read.
        A tiny one takes some memory too.
        """
        return min(max(len(packet), _LEAST_WEIGHT), self.max_outbox // 4)
