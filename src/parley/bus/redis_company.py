"""Whether other nodes use the same Redis: a node that is alone need not publish.

Every node joins one channel more, on which it says HELLO; all others answer
with HERE, and know by then that they have company.  Redis tells everything on
one connection in the order in which it happened.  So whoever counts itself as
the only one on that channel hears of the next one before anything else that
one has it do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from parley.bus.redis_channels import RedisChannels
from parley.bus.redis_link import RedisLink
from parley.bus.redis_payload import TAGGED
from parley.model import UserId

_EVERYBODY: Final = UserId("nodes")
"""Stands where other channels have the UUID of a user."""
_HELLO: Final = b"hello"
_HERE: Final = b"here"
_PATIENCE: Final = 1.0
"""Seconds that others have to answer; one that has just died still counts for a while."""


class Company:
    """What one node knows of the others."""

    def __init__(
        self, channels: RedisChannels, find_link: Callable[[bytes], RedisLink | None], own: bytes
    ) -> None:
        """``own`` is how every payload of this node begins, ``TAGGED`` bytes."""
        self.name: Final = channels.name(_EVERYBODY)
        """The channel of all nodes."""
        self.alone = False
        """No other node is there, for sure."""
        self._channels = channels
        self._find_link = find_link
        self._own = own
        self._others: int | None = None
        """How many there are; None while that isn't known."""
        self._answered: set[bytes] = set()
        self._met = asyncio.Event()

    async def meet(self) -> None:
        """Return when every other node knows that this one is there, or after a second."""
        self.lose()
        channel = self._channels.want(_EVERYBODY)
        await channel.settling()
        link = channel.link
        if channel.standing and link is not None:
            link.publish(self.name, self._own, _HELLO)
            link.count(self.name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._met.wait()

    def count(self) -> None:
        """Find out whether the others have left."""
        link = self._find_link(self.name)
        if link is not None and self._others is not None:
            link.count(self.name)

    def lose(self) -> None:
        """Redis is away, or was: nothing is known of the others until :meth:`meet`."""
        self.alone = False
        self._others = None
        self._answered.clear()
        self._met.clear()

    # -- what Redis tells

    def counted(self, nodes: int) -> None:
        """So many nodes have joined the channel, this one among them or not."""
        self._others = nodes - 1
        self.alone = nodes == 1
        self._look()

    def heard(self, link: RedisLink, payload: bytes) -> bool:
        """Another node said something; False if that isn't what nodes say."""
        said = payload[TAGGED:]
        if said not in (_HELLO, _HERE):
            return False
        self.alone = False
        self._answered.add(payload[:TAGGED])
        if said == _HELLO:
            link.publish(self.name, self._own, _HERE)
        self._look()
        return True

    def _look(self) -> None:
        if self._others is not None and len(self._answered) >= self._others:
            self._met.set()
