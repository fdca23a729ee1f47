"""Whether other nodes use the same Redis: a node that is alone need not publish.

Every node joins one channel more, on which it says HELLO; all others answer
with HERE, and know by then that they have company.  Redis tells everything on
one connection in the order in which it happened.  So whoever counts itself as
the only one on that channel hears of the next one before anything else that
one has it do.

A node that listens to notices says LISTENING instead of HERE, and also as soon
as it does, and every few seconds.  Where nobody has said so for a while, notices
need not be published either.

Whoever has revoked tokens says REVOKED, and the others look into the store.  It
says neither whose nor why: Redis is not believed in such a matter.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final

from parley.bus.redis_channels import RedisChannels
from parley.bus.redis_link import RedisLink
from parley.bus.redis_payload import TAGGED
from parley.model import UserId

_EVERYBODY: Final = UserId("nodes")
"""Stands where other channels have the UUID of a user."""
_HELLO: Final = b"hello"
_HERE: Final = b"here"
_LISTENING: Final = b"listening"
_REVOKED: Final = b"revoked"
_PATIENCE: Final = 1.0
"""Seconds that others have to answer; one that has just died still counts for a while."""
_MANY: Final = 10_000
"""Nodes whose answers are told apart; whoever meets more doesn't wait for all of them."""
_SILENCE: Final = 3
"""Calls of :meth:`Company.count` after which somebody who listened would have said so again."""


class Company:
    """What one node knows of the others."""

    def __init__(self, channels: RedisChannels, own: bytes) -> None:
        """``own`` is how every payload of this node begins, ``TAGGED`` bytes."""
        self.name: Final = channels.name(_EVERYBODY)
        """The channel of all nodes."""
        self.alone = False
        """No other node is there, for sure."""
        self.listened = False
        """Another node has said, not long ago, that it listens to notices."""
        self.on_revoked: Callable[[], None] = _nobody_looks
        """Is called when another node has revoked tokens."""
        self._silence = 0
        """Calls of :meth:`count` since then."""
        self._listens = False
        """This node does."""
        self._channels = channels
        self._own = own
        self._others: int | None = None
        """How many there are; None while that isn't known."""
        self._answered: set[bytes] = set()
        self._met = asyncio.Event()
        self._losses = 0
        """Calls of :meth:`lose`.  What was asked before the last one isn't believed any more."""

    async def meet(self) -> None:
        """Return when every other node knows that this one is there, or after a second."""
        self.lose()
        losses = self._losses
        channel = self._channels.want(_EVERYBODY)
        await channel.settling()
        link = channel.link
        if channel.standing and link is not None:
            link.publish(self.name, self._own, _HELLO)
            self._announce()
            self._ask(link, losses)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._met.wait()

    def count(self) -> None:
        """Find out whether the others have left, or listen no more; to be called now and then."""
        link = self._channels.want(_EVERYBODY).link
        if link is not None and self._others is not None:
            self._ask(link, self._losses)
        self._silence += 1
        if self._silence > _SILENCE:
            self.listened = False
        self._announce()

    def listen(self, *, wanted: bool) -> None:
        """This node listens to notices from now on, or no more."""
        self._listens = wanted
        self._announce()

    def announce_revocations(self) -> None:
        """Have the others look into the store."""
        link = self._channels.want(_EVERYBODY).link
        if link is not None:
            link.publish(self.name, self._own, _REVOKED)

    def lose(self) -> None:
        """Redis is away, or was: nothing is known of the others until :meth:`meet`.

        If one of them listened, it is believed to go on.
        """
        self._losses += 1
        self.alone = False
        self._others = None
        self._answered.clear()
        self._met.clear()

    # -- what Redis tells

    def heard(self, link: RedisLink, payload: bytes) -> bool:
        """Another node said something; False if that isn't what nodes say."""
        said = payload[TAGGED:]
        if said not in (_HELLO, _HERE, _LISTENING, _REVOKED):
            return False
        self.alone = False
        if len(self._answered) < _MANY:
            self._answered.add(payload[:TAGGED])
        if said == _HELLO:
            link.publish(self.name, self._own, _LISTENING if self._listens else _HERE)
        elif said == _LISTENING:
            self.listened, self._silence = True, 0
        elif said == _REVOKED:
            self.on_revoked()
        self._look()
        return True

    # -- within

    def _announce(self) -> None:
        """Say that this node listens, if it does and somebody may be there to hear it."""
        if self._listens and not self.alone:
            link = self._channels.want(_EVERYBODY).link
            if link is not None:
                link.publish(self.name, self._own, _LISTENING)

    def _ask(self, link: RedisLink, losses: int) -> None:
        """Count the nodes; an answer that comes after more than so many losses is worth nothing."""
        link.count(self.name, partial(self._counted, losses))

    def _counted(self, losses: int, nodes: int) -> None:
        if losses != self._losses:
            return
        # A server that doesn't count this node can't tell of the others either.
        self._others = nodes - 1 if nodes >= 1 else None
        self.alone = nodes == 1
        if self.alone:
            self.listened = False
        self._look()

    def _look(self) -> None:
        if self._others is not None and len(self._answered) >= self._others:
            self._met.set()


def _nobody_looks() -> None:
    """Before a node has named who does."""
