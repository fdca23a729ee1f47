"""From a committed chat to the connected devices of its receiver.

Pushes travel over the bus, which may lose, repeat or reorder them; the inbox
of each connected user puts that right, and ``repair`` reads what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from parley.answer import answer_of
from parley.chat.batching import Batcher
from parley.chat.inbox import Device, Inbox
from parley.chat.ports import Bus, Presence, Store
from parley.chat.repair import Intervals, Repair
from parley.chat.replies import too_many_connections
from parley.errors import StoreUnavailable
from parley.model import Chat, InboxEntry, UserId

_MAX_HEADS: Final = 500
_MAX_CONNECTING: Final = 100_000
_RESUME_PAGE: Final = 200


class Delivery:
    """Who is connected to this node, and how far each one's pushes have come."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        encode: Callable[[Chat], bytes],
        *,
        presence: Presence | None = None,
        intervals: Intervals | None = None,
        max_devices: int = 0,
    ) -> None:
        """``encode`` makes the packet that carries a chat to a device.

        ``max_devices``: those of one user here at once; 0 is any number.
        """
        self._store = store
        self._bus = bus
        self._encode = encode
        self._presence = presence
        self._max_devices = max_devices
        self._inboxes: dict[UserId, Inbox] = {}
        self._heads: Batcher[UserId, int] = Batcher(
            lambda owners: answer_of(self._read_heads(owners)),
            max_batch=_MAX_HEADS,
            max_waiting=_MAX_CONNECTING,
        )
        self._opening: dict[UserId, asyncio.Future[None]] = {}
        self._repair = Repair(store, bus, self._inboxes, self._take, intervals or Intervals())
        self.pushed = 0
        """Packets handed to devices."""
        bus.attach(self._receive, self._repair.compare_all)

    def start(self) -> None:
        """Begin to look for pushes that were lost and that nothing follows."""
        self._repair.start()

    @property
    def users(self) -> int:
        """How many users are connected, or about to be."""
        return len(self._inboxes)

    @property
    def gaps_filled(self) -> int:
        """Times that the store had to be read for pushes that did not arrive."""
        return self._repair.gaps_filled

    def sizes(self) -> dict[str, int]:
        """How much is in each internal table; one repair is always under way."""
        return {
            "inboxes": len(self._inboxes),
            "inboxes_opening": len(self._opening),
            "repairs": self._repair.under_way,
        }

    def publish(self, chat: Chat, seq: int) -> None:
        """A chat has been committed: send it on its way to its receiver."""
        self._bus.publish(chat.receiver, seq, self._encode(chat))

    # -- devices

    async def open(self, user: UserId, *, moved: bool = False) -> Inbox:
        """Prepare to push to ``user``; :meth:`close` must follow, once.

        What is committed after this returns will be pushed to the devices that
        are attached by then.  ``moved``: for a device that had been let in
        elsewhere, and is here however many there are.

        Raises:
            ChatError: TOO_MANY_CONNECTIONS; or the store doesn't answer.
        """
        inbox = self._inboxes.get(user)
        if inbox is None:
            inbox = self._inboxes[user] = Inbox(user)
        elif inbox.holders >= self._max_devices > 0 and not moved:
            raise too_many_connections()
        inbox.holders += 1
        try:
            while inbox.position is None:
                opening = self._opening.get(user)
                if opening is None:
                    await self._start(inbox)
                else:
                    await asyncio.wait((opening,))
        except BaseException:
            self.close(inbox)
            raise
        return inbox

    def attach(self, inbox: Inbox, device: Device) -> None:
        """From now on ``device`` gets what is pushed."""
        if self._presence is not None and not inbox.devices:
            self._presence.joined(inbox.owner)
        inbox.devices += (device,)

    async def resume(self, inbox: Inbox, device: Device, seen: int) -> None:
        """As :meth:`attach`, for a device that has seen everything up to ``seen``, and no more.

        What came since is pushed first, from the store.

        Raises:
            StoreUnavailable: the store doesn't answer.
        """
        assert inbox.position is not None
        while inbox.position != seen:
            if inbox.position < seen:
                if not await self._repair.read(inbox):
                    raise StoreUnavailable(f"position {seen} of an inbox is not there")
            else:
                entries = await self._store.entries(inbox.owner, seen, _RESUME_PAGE)
                if not entries:
                    raise StoreUnavailable(f"nothing is there behind position {seen} of an inbox")
                for entry in entries:
                    device.send(self._encode(entry.chat))
                    self.pushed += 1
                    seen = entry.seq
                # It may have been too much for the device: then this ends here, cancelled.
                await asyncio.sleep(0)
        self.attach(inbox, device)  # in the turn in which the positions were the same

    def detach(self, inbox: Inbox, device: Device) -> None:
        """``device`` gets nothing more; harmless if it isn't attached."""
        if device in inbox.devices:
            inbox.devices = tuple(each for each in inbox.devices if each is not device)
            if self._presence is not None and not inbox.devices:
                self._presence.left(inbox.owner)

    def close(self, inbox: Inbox) -> None:
        """Undo one :meth:`open`."""
        inbox.holders -= 1
        if not inbox.holders:
            del self._inboxes[inbox.owner]
            self._bus.unsubscribe(inbox.owner)

    async def shut_down(self) -> None:
        """Stop everything under way."""
        await self._heads.close()
        await self._repair.close()

    # -- within

    async def _start(self, inbox: Inbox) -> None:
        """Find out where an inbox stands; pushes that come meanwhile are kept."""
        opening = self._opening[inbox.owner] = asyncio.get_running_loop().create_future()
        try:
            # In this order: what is committed after the head was read is heard.
            await self._bus.subscribe(inbox.owner)
            head = await self._heads.call(inbox.owner)
            inbox.start(head)  # no device is attached yet
            self._repair.check(inbox)
        finally:
            del self._opening[inbox.owner]
            opening.set_result(None)

    async def _read_heads(self, owners: Sequence[UserId]) -> Sequence[int]:
        heads = await self._store.heads(owners)
        return [heads[owner] for owner in owners]

    def _receive(self, owner: UserId, seq: int, packet: bytes) -> None:
        inbox = self._inboxes.get(owner)
        if inbox is None:
            return
        if inbox.follow(seq):  # as nearly always
            self._push(inbox, packet)
            return
        self._push_all(inbox, inbox.offer(seq, packet))
        if inbox.missing:
            self._repair.check(inbox)

    def _take(self, inbox: Inbox, entry: InboxEntry) -> None:
        self._push_all(inbox, inbox.offer(entry.seq, self._encode(entry.chat)))

    def _push_all(self, inbox: Inbox, ready: list[bytes]) -> None:
        for packet in ready:
            self._push(inbox, packet)

    def _push(self, inbox: Inbox, packet: bytes) -> None:
        for device in inbox.devices:
            device.send(packet)
            self.pushed += 1
