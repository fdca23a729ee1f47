"""From a committed chat to the connected devices of its receiver.

Pushes travel over the bus, which may lose, repeat or reorder them; the inbox
of each connected user puts that right, with the store's help.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from parley.chat.batching import Batcher
from parley.chat.inbox import Inbox
from parley.chat.ports import Bus, Store
from parley.errors import StoreUnavailable
from parley.model import Chat, UserId

logger = logging.getLogger(__name__)

Device = Callable[[bytes], None]
"""Takes one encoded packet for a connected device; never blocks, never raises."""

GAP_WAIT: Final = 0.02
"""Seconds that a missing push is given to arrive late, before the store is asked."""
RETRY_WAIT: Final = 0.5
"""Seconds between attempts while the store is away."""
_FILL_PAGE: Final = 200
_MAX_FILLS: Final = 8
"""Gaps that are filled at a time; the others wait."""
_MAX_HEADS: Final = 500
_MAX_CONNECTING: Final = 100_000


class Delivery:
    """Who is connected to this node, and how far each one's pushes have come."""

    def __init__(self, store: Store, bus: Bus, encode: Callable[[Chat], bytes]) -> None:
        """``encode`` makes the packet that carries a chat to a device."""
        self._store = store
        self._bus = bus
        self._encode = encode
        self._inboxes: dict[UserId, Inbox] = {}
        self._heads: Batcher[UserId, int] = Batcher(
            self._read_heads, max_batch=_MAX_HEADS, max_waiting=_MAX_CONNECTING
        )
        self._opening: dict[UserId, asyncio.Future[None]] = {}
        self._fills: set[asyncio.Task[None]] = set()
        self._fill_gate = asyncio.Semaphore(_MAX_FILLS)
        self.pushed = 0
        """Packets handed to devices."""
        self.gaps_filled = 0
        """Times that the store had to be read for pushes that did not arrive."""
        bus.attach(self._receive)

    @property
    def users(self) -> int:
        """How many users are connected, or about to be."""
        return len(self._inboxes)

    def publish(self, chat: Chat, seq: int) -> None:
        """A chat has been committed: send it on its way to its receiver."""
        self._bus.publish(chat.receiver, seq, self._encode(chat))

    # -- devices

    async def open(self, user: UserId) -> Inbox:
        """Prepare to push to ``user``; :meth:`close` must follow, once.

        What is committed after this returns will be pushed to the devices that
        are attached by then.

        Raises:
            ChatError: the store doesn't answer.
        """
        inbox = self._inboxes.get(user)
        if inbox is None:
            inbox = self._inboxes[user] = Inbox(user)
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
        inbox.devices.append(device)

    def detach(self, inbox: Inbox, device: Device) -> None:
        """``device`` gets nothing more; harmless if it isn't attached."""
        if device in inbox.devices:
            inbox.devices.remove(device)

    def close(self, inbox: Inbox) -> None:
        """Undo one :meth:`open`."""
        inbox.holders -= 1
        if not inbox.holders:
            del self._inboxes[inbox.owner]
            self._bus.unsubscribe(inbox.owner)

    async def shut_down(self) -> None:
        """Stop everything under way."""
        await self._heads.close()
        for task in self._fills:
            task.cancel()
        await asyncio.gather(*self._fills, return_exceptions=True)

    # -- within

    async def _start(self, inbox: Inbox) -> None:
        """Find out where an inbox stands; pushes that come meanwhile are kept."""
        opening = self._opening[inbox.owner] = asyncio.get_running_loop().create_future()
        try:
            # In this order: what is committed after the head was read is heard.
            await self._bus.subscribe(inbox.owner)
            head = await self._heads.call(inbox.owner)
            inbox.start(head)  # no device is attached yet
            self._check_gap(inbox)
        finally:
            del self._opening[inbox.owner]
            opening.set_result(None)

    async def _read_heads(self, owners: Sequence[UserId]) -> list[int]:
        heads = await self._store.heads(owners)
        return [heads[owner] for owner in owners]

    def _receive(self, owner: UserId, seq: int, packet: bytes) -> None:
        inbox = self._inboxes.get(owner)
        if inbox is not None:
            self._push(inbox, inbox.offer(seq, packet))
            self._check_gap(inbox)

    def _push(self, inbox: Inbox, ready: list[bytes]) -> None:
        for packet in ready:
            for device in tuple(inbox.devices):  # a slow one may be detached by its push
                device(packet)
                self.pushed += 1

    def _check_gap(self, inbox: Inbox) -> None:
        if inbox.missing and not inbox.filling:
            inbox.filling = True
            task = asyncio.get_running_loop().create_task(self._fill(inbox))
            self._fills.add(task)
            task.add_done_callback(self._fills.discard)

    async def _fill(self, inbox: Inbox) -> None:
        """Push what did not arrive, from the store."""
        try:
            await asyncio.sleep(GAP_WAIT)
            while inbox.missing and inbox.holders:
                filled = False
                try:
                    async with self._fill_gate:
                        filled = await self._fill_page(inbox)
                except StoreUnavailable as exc:
                    logger.warning("can't fill a gap while the store is away: %s", exc)
                except Exception:
                    logger.exception("filling a gap failed")
                if not filled:
                    await asyncio.sleep(RETRY_WAIT)
        finally:
            inbox.filling = False

    async def _fill_page(self, inbox: Inbox) -> bool:
        """Push a page of what is missing; False if the store has nothing of it yet.

        Then a later push was heard of before an earlier one was committed.
        """
        assert inbox.position is not None
        entries = await self._store.entries(inbox.owner, inbox.position, _FILL_PAGE)
        self.gaps_filled += 1
        for entry in entries:
            self._push(inbox, inbox.offer(entry.seq, self._encode(entry.chat)))
        return bool(entries)
