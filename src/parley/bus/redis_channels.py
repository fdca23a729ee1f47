"""Which channels a node wants, and how far it is with each.

One change at a time is under way for a channel; what is wanted by the time it
is confirmed decides about the next.  So no confirmation can be taken for
another's, however fast users come and go.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from parley.bus.redis_link import RedisLink
from parley.model import UserId


class Change:
    """Channels that one link was asked to join, or to leave."""

    __slots__ = ("channels", "joining")

    def __init__(self, channels: list[Channel], *, joining: bool) -> None:
        self.channels = channels
        self.joining = joining


class Channel:
    """One user's channel."""

    __slots__ = ("change", "link", "name", "owner", "standing", "waiters", "wanted")

    def __init__(self, owner: UserId, name: bytes) -> None:
        self.owner = owner
        self.name = name
        self.wanted = False
        self.standing = False
        """The server has confirmed that it is joined, and not yet that it is left."""
        self.change: Change | None = None
        """What its server was asked to do, and hasn't confirmed yet."""
        self.link: RedisLink | None = None
        """Where it stands, or is being joined."""
        self.waiters: list[asyncio.Future[None]] | None = None
        """They are done when it stands, or can't for now."""

    def settling(self) -> asyncio.Future[None]:
        """Done when the channel stands, or its server turns out to be away."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.standing and self.change is None:
            waiter.set_result(None)
        elif self.waiters is None:
            self.waiters = [waiter]
        else:
            self.waiters.append(waiter)
        return waiter

    def release(self) -> None:
        """Let those go on who wait."""
        waiters, self.waiters = self.waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def put_out(self) -> None:
        """The server knows nothing of it any more."""
        self.link = self.change = None
        self.standing = False
        self.release()


class RedisChannels:
    """All channels of a node.  Changes are sent at the end of the event loop's turn, gathered."""

    def __init__(
        self,
        prefix: bytes,
        find_link: Callable[[bytes], RedisLink | None],
        on_refused: Callable[[RedisLink], None],
    ) -> None:
        """``find_link`` says where a name belongs now, None if its server is away.

        ``on_refused`` is called when a link answers without having done what it was asked.
        """
        self._prefix = prefix
        self._find_link = find_link
        self._on_refused = on_refused
        self.by_name: dict[bytes, Channel] = {}
        """Those that are wanted, and those that are yet to be left."""
        self._due: list[Channel] = []
        """It is decided at the end of the turn what is to change about these."""
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self.by_name)

    def name(self, owner: UserId) -> bytes:
        """The name of an owner's channel."""
        return self._prefix + owner.encode()

    def want(self, owner: UserId) -> Channel:
        """Join the channel of ``owner`` now or as soon as its server is there.  Idempotent."""
        name = self.name(owner)
        channel = self.by_name.get(name)
        if channel is None:
            channel = self.by_name[name] = Channel(owner, name)
        channel.wanted = True
        if not channel.standing and channel.change is None:
            self._put_due(channel)
        return channel

    def unwant(self, owner: UserId) -> None:
        """Leave the channel of ``owner``.  Idempotent."""
        channel = self.by_name.get(self.name(owner))
        if channel is not None and channel.wanted:
            channel.wanted = False
            self._put_due(channel)

    def clear(self) -> None:
        """Forget all of them; nobody waits any more."""
        for channel in self.by_name.values():
            channel.put_out()
        self.by_name.clear()
        self._due.clear()

    # -- repairing

    def homeless(self) -> list[Channel]:
        """The channels that neither stand nor are being joined where they belong."""
        for channel in self.by_name.values():
            if channel.link is not None and channel.link is not self._find_link(channel.name):
                channel.put_out()
        return [each for each in self.by_name.values() if each.link is None]

    def rejoin(self, homeless: Sequence[Channel]) -> None:
        """Ask for these at once, on the links that are there."""
        self._due += homeless
        self._send_changes()

    # -- what a link says

    def subscribed(self, link: RedisLink, name: bytes) -> None:
        """``link`` confirms that it has joined ``name``."""
        channel = self.by_name.get(name)
        if channel is None or channel.link is not link or channel.change is None:
            return
        if channel.change.joining:
            channel.standing, channel.change = True, None
            channel.release()
            if not channel.wanted:
                self._put_due(channel)

    def unsubscribed(self, link: RedisLink, name: bytes) -> bool:
        """``link`` says that it has left ``name``; False if nobody asked it to."""
        channel = self.by_name.get(name)
        if channel is None or channel.link is not link:
            return True
        if channel.change is None:
            channel.put_out()
            return False
        if not channel.change.joining:
            # Those who want it again meanwhile go on waiting.
            channel.link = channel.change = None
            channel.standing = False
            self._put_due(channel)
        return True

    def lost(self, link: RedisLink) -> None:
        """``link`` is no more."""
        for channel in self.by_name.values():
            if channel.link is link:
                channel.put_out()

    # -- within

    def _put_due(self, channel: Channel) -> None:
        if not self._due:
            self._loop.call_soon(self._send_changes)
        self._due.append(channel)

    def _send_changes(self) -> None:
        joins: defaultdict[RedisLink, list[Channel]] = defaultdict(list)
        leaves: defaultdict[RedisLink, list[Channel]] = defaultdict(list)
        due, self._due = dict.fromkeys(self._due), []
        for channel in due:
            if channel.change is not None or (channel.standing and channel.wanted):
                continue
            link = channel.link or self._find_link(channel.name)
            if not channel.wanted and not channel.standing:
                self._forget(channel)
            elif link is None:
                channel.release()
            else:
                (joins if channel.wanted else leaves)[link].append(channel)
        for link, channels in leaves.items():
            self._send(link, link.unsubscribe, Change(channels, joining=False))
        for link, channels in joins.items():
            self._send(link, link.subscribe, Change(channels, joining=True))

    def _send(
        self,
        link: RedisLink,
        send: Callable[[Sequence[bytes], Callable[[Exception | None], None]], None],
        change: Change,
    ) -> None:
        for channel in change.channels:
            channel.link, channel.change = link, change

        def conclude(lost: Exception | None) -> None:
            refused = [each for each in change.channels if each.change is change]
            for channel in refused:
                channel.put_out()
            if refused and lost is None:
                self._on_refused(link)

        send([each.name for each in change.channels], conclude)

    def _forget(self, channel: Channel) -> None:
        channel.release()
        if self.by_name.get(channel.name) is channel:
            del self.by_name[channel.name]
