"""The slots of a Redis cluster: which one a channel is in, and which server has it."""

from __future__ import annotations

from binascii import crc_hqx
from typing import Any, Final

from parley.bus.redis_connection import Address

SLOTS: Final = 16384


def slot_of(name: bytes) -> int:
    """The slot of a key or channel; only what is in its first braces counts, if anything is."""
    start = name.find(b"{") + 1
    if start:
        end = name.find(b"}", start)
        if end > start:
            name = name[start:end]
    return crc_hqx(name, 0) % SLOTS


def primaries(reply: list[list[Any]], asked: Address) -> list[Address | None]:
    """Each slot's server, from what ``asked`` answers to CLUSTER SLOTS; None if it has none.

    The addresses are those that the cluster announces.

    Raises:
        ValueError: it is no such answer.
    """
    servers: list[Address | None] = [None] * SLOTS
    try:
        for first, last, (host, port, *_), *_ in reply:
            if not 0 <= first <= last < SLOTS:
                raise ValueError("there are no such slots")
            # A server that doesn't know its own address leaves it out.
            address = Address(host.decode() if host else asked.host, int(port))
            servers[first : last + 1] = [address] * (last + 1 - first)
    except (AttributeError, TypeError) as exc:
        raise ValueError("it tells of something else than slots") from exc
    return servers
