"""The bus of many nodes: Redis or Valkey pub/sub, of a single server or of a cluster.

Each connected user has a channel.  Users of the node that publishes get their
pushes without Redis, and what then comes back from it is dropped.  A node that
is alone publishes nothing.  Notices go the same way, on the same channels, while
another node listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Final

from parley.bus.redis_channels import RedisChannels
from parley.bus.redis_company import Company
from parley.bus.redis_link import RedisLink
from parley.bus.redis_payload import NOTICE, PayloadFormat, unpack
from parley.bus.redis_routes import RedisRoutes
from parley.errors import BusBroken, BusUnavailable
from parley.incidents import Incident, fault, tell
from parley.model import UserId
from parley.redis_options import RedisOptions

logger = logging.getLogger(__name__)

_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_STEADY: Final = 5.0
"""Seconds without a disturbance after which the next one is repaired without a longer pause."""
_CHUNK: Final = 1000
"""Channels that are joined at a time after a loss."""
_LAST_WORDS: Final = 1.0
"""Seconds that the last publishes have to reach Redis at the end."""


class RedisBus:
    """Implements :class:`parley.chat.ports.Bus`; made by :meth:`open`.

    A link that breaks, or on which nothing is answered for ``options.timeout``
    seconds, makes the bus count as away.  It is repaired in the background,
    for ever.
    """

    def __init__(self, options: RedisOptions) -> None:
        prefix = options.channel("inbox:").encode()
        self._routes = RedisRoutes(options, prefix, self)
        self._channels = RedisChannels(prefix, self._routes.find, self._on_join_refused)
        self._by_name = self._channels.by_name
        self._format = PayloadFormat()
        self._own = self._format.own
        self._company = Company(self._channels, self._own)
        self._receive: Callable[[UserId, int, bytes], None] = _nobody_receives
        self._restored: Callable[[], None] = _nobody_cares
        self._hear: Callable[[UserId, bytes], None] | None = None
        self._connected = False
        self._disturbed = asyncio.Event()
        self._witness: RedisLink | None = None
        """The link that told of the last disturbance."""
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False
        self.losses = 0
        """Times that the bus went away, in whole or in part."""
        self.dropped = 0
        """Publishes that weren't carried because Redis was away or didn't read."""
        self.malformed = 0
        """Payloads that aren't Parley's."""

    @classmethod
    async def open(cls, options: RedisOptions) -> RedisBus:
        """Connect and make sure that everything is permitted that the bus does.

        Raises:
            BusUnavailable: Redis isn't there, or not ready.
            BusBroken: it refuses us.
        """
        bus = cls(options)
        # A loss counts from here on, even before this is through: so it is told, and repaired.
        bus._connected = True
        try:
            await bus._routes.refresh()
            await bus._company.meet()
        except BaseException:
            bus._routes.close()
            raise
        bus._keeper = asyncio.create_task(bus._keep())
        return bus

    # -- the port

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def listened(self) -> bool:
        return self._hear is not None or self._company.listened

    def attach(
        self, receive: Callable[[UserId, int, bytes], None], restored: Callable[[], None]
    ) -> None:
        self._receive = receive
        self._restored = restored

    def publish(self, owner: UserId, seq: int, packet: bytes) -> None:
        if self._closed:
            return
        name = self._channels.name(owner)
        channel = self._by_name.get(name)
        if channel is not None and channel.wanted:
            self._receive(owner, seq, packet)
        if self._company.alone:
            return
        link = self._routes.find(name)
        if link is None or not link.publish(name, self._format.head(seq), packet):
            self._drop(link)

    def notify(self, owner: UserId, packet: bytes) -> None:
        if self._closed:
            return
        name = self._channels.name(owner)
        channel = self._by_name.get(name)
        if self._hear is not None and channel is not None and channel.wanted:
            self._hear(owner, packet)
        if self._company.listened:
            link = self._routes.find(name)
            if link is None or not link.publish(name, self._format.head(NOTICE), packet):
                self._drop(link)

    def listen(self, hear: Callable[[UserId, bytes], None] | None) -> None:
        self._hear = hear
        if not self._closed:
            self._company.listen(wanted=hear is not None)

    def announce_revocations(self) -> None:
        if not self._closed:
            self._company.announce_revocations()

    def on_revocations(self, look: Callable[[], None]) -> None:
        self._company.on_revoked = look

    async def subscribe(self, owner: UserId) -> None:
        await self._channels.want(owner).settling()

    def unsubscribe(self, owner: UserId) -> None:
        self._channels.unwant(owner)

    def sizes(self) -> dict[str, int]:
        return {"bus_channels": len(self._by_name), "bus_links": len(self._routes.links)}

    async def close(self) -> None:
        """Give the last publishes a second to reach Redis, and end everything.  Idempotent."""
        if self._closed:
            return
        self._closed, self._connected = True, False
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS):
                await self._round_trips()
        self._routes.close()
        self._channels.clear()

    # -- what links tell (parley.bus.redis_link.Listener)

    def on_message(self, name: bytes, payload: bytes) -> None:
        if payload.startswith(self._own):
            return
        channel = self._by_name.get(name)
        if channel is None or not channel.wanted:
            return  # its owner has just left
        if name == self._company.name and channel.link is not None:
            if not self._company.heard(channel.link, payload):
                self._misheard()
            return
        push = unpack(payload)
        if push is None:
            self._misheard()
            return
        try:
            if push[0] != NOTICE:
                self._receive(channel.owner, *push)
            elif self._hear is not None:
                self._hear(channel.owner, push[1])
        except Exception:
            fault(logger, "a push could not be handed over")

    def _drop(self, link: RedisLink | None) -> None:
        """What was to be published was not; on ``link``, if there is one."""
        self.dropped += 1
        reason = "there is no link" if link is None else f"Redis at {link.address} reads too slowly"
        subject = "away" if link is None else "slow"
        text = "a push to other nodes is dropped"
        tell(logger, Incident.BUS_DROPPED, text, reason=reason, subject=subject)

    def _misheard(self) -> None:
        self.malformed += 1
        text = "what arrived on a channel of ours is not Parley's"
        tell(logger, Incident.BUS_MALFORMED, text, reason="it can't be read")

    def on_subscribed(self, link: RedisLink, name: bytes) -> None:
        self._channels.subscribed(link, name)

    def on_unsubscribed(self, link: RedisLink, name: bytes) -> None:
        if not self._channels.unsubscribed(link, name):
            self._disturb("the Redis cluster's slots have moved", link)

    def on_refused(self, link: RedisLink, error: str) -> None:
        if error.startswith("MOVED "):
            self._disturb("the Redis cluster's slots have moved", link)
        elif error.startswith("CLUSTERDOWN "):
            self._disturb(error, link)
        else:
            text = f"Redis at {link.address} refuses a command"
            tell(logger, Incident.BUS_REFUSED, text, reason=error)

    def on_lost(self, link: RedisLink, reason: Exception) -> None:
        self._routes.forget(link)
        self._channels.lost(link)
        self._disturb(str(reason), link)

    # -- keeping it alive

    def _on_join_refused(self, link: RedisLink) -> None:
        self._disturb(f"Redis at {link.address} refuses a subscription", link)

    def _disturb(self, reason: str, witness: RedisLink) -> None:
        self._witness = witness
        self._disturbed.set()
        self._company.lose()
        if self._connected:
            self._connected = False
            self.losses += 1
            text = "the bus is away, pushes to other nodes may be late"
            tell(logger, Incident.BUS_LOST, text, reason=reason, always=True)

    async def _keep(self) -> None:
        """Repair the bus whenever it is disturbed."""
        pause = _SHORTEST_PAUSE
        while True:
            try:
                async with asyncio.timeout(_STEADY):
                    await self._disturbed.wait()
            except TimeoutError:
                pause = _SHORTEST_PAUSE
                self._company.count()
                continue
            # Nodes that lost the same server don't all come back in the same moment; and one
            # repair is enough for slots that move one after another.
            await asyncio.sleep(_jittered(pause))
            pause = min(2 * pause, _LONGEST_PAUSE)
            if await self._repair():
                self._come_back()

    async def _repair(self) -> bool:
        """Have links to all servers and all channels joined; False if it didn't work out."""
        self._disturbed.clear()
        try:
            await self._routes.refresh(self._witness)
        except BusUnavailable as exc:
            text = "the bus can't be repaired yet"
            tell(logger, Incident.BUS_REPAIR_FAILED, text, reason=exc, subject="away")
            self._disturbed.set()
        except BusBroken as exc:
            text = "the bus stays away until somebody helps"
            tell(logger, Incident.BUS_REPAIR_FAILED, text, reason=exc, subject="broken")
            self._disturbed.set()
        except Exception:
            fault(logger, "the bus could not be repaired")
            self._disturbed.set()
        await self._rejoin()  # what can be
        if not self._disturbed.is_set():
            await self._company.meet()
        return not self._disturbed.is_set()

    async def _rejoin(self) -> None:
        homeless = self._channels.homeless()
        for start in range(0, len(homeless), _CHUNK):
            self._channels.rejoin(homeless[start : start + _CHUNK])
            await self._round_trips()

    async def _round_trips(self) -> None:
        """Wait until all links have done what they were asked; or are lost, which is told."""
        trips = (link.round_trip() for link in self._routes.links)
        await asyncio.gather(*trips, return_exceptions=True)

    def _come_back(self) -> None:
        self._connected = True
        logger.info("the bus is back")
        try:
            self._restored()
        except Exception:
            fault(logger, "what follows the bus' return failed")


def _jittered(pause: float) -> float:
    return pause * random.uniform(0.5, 1)  # noqa: S311 - no secret


def _nobody_receives(owner: UserId, seq: int, packet: bytes) -> None:
    """Before :meth:`RedisBus.attach`."""


def _nobody_cares() -> None:
    """Before :meth:`RedisBus.attach`."""
