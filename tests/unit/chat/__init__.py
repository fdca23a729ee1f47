"""What the tests of chat share: users, a clock, and a store and a bus with faults to order."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from parley.answer import Answer, answer_of
from parley.bus.local import LocalBus
from parley.chat.delivery import Delivery
from parley.chat.ports import Committed, NewChat, Page, Receipt, Revocation, Store, Stored
from parley.chat.repair import Intervals
from parley.errors import StoreUnavailable
from parley.model import Chat, ChatId, InboxEntry, UserId
from parley.store.sqlite import SqliteStore

PATIENCE = 5
"""Seconds."""
NOW = 1_760_000_000.123
"""What the clock shows at first."""


def user(number: int) -> UserId:
    return UserId(f"00000000-0000-4000-8000-{number:012d}")


ALICE, BOB, CAROL = user(1), user(2), user(3)


def new_chat(receiver: UserId, message: str = "hi", sender: UserId = ALICE) -> NewChat:
    return NewChat(ChatId(str(uuid.uuid4())), sender, receiver, message, int(NOW * 1000))


class Screen:
    """A device that shows what it is sent."""

    def __init__(self, show: Callable[[bytes], object] = lambda packet: None) -> None:
        self._show = show

    def send(self, packet: bytes) -> None:
        self._show(packet)


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time


class Kicks:
    """A store of revocations that can be away, and no more than a list."""

    def __init__(self) -> None:
        self.away = False
        self.looks = 0
        """Times that it was asked what is newest."""
        self.reads = 0
        """Times that it was asked for changes."""
        self._all: dict[UserId, Revocation] = {}
        self._version = 0

    async def put(self, revocation: Revocation) -> None:
        self._version += 1
        changed = msgspec.structs.replace(revocation, version=self._version)
        self._all[revocation.user] = changed

    async def newest(self) -> int:
        self.looks += 1
        if self.away:
            raise StoreUnavailable("it is away")
        return self._version

    def lose(self) -> None:
        """Be as it was at first."""
        self._all.clear()
        self._version = 0

    async def changes(self, after: int, until_after: int, limit: int) -> list[Revocation]:
        self.reads += 1
        if self.away:
            raise StoreUnavailable("it is away")
        rows = sorted(self._all.values(), key=lambda each: each.version)
        return [each for each in rows if each.version > after and each.until > until_after][:limit]


class FaultyStore:
    """A real store that can be away, or take its time."""

    def __init__(self, real: Store) -> None:
        self.real = real
        self.away = False
        """Nothing is answered, and nothing is done."""
        self.calls: Counter[str] = Counter()
        """How often each method was called."""
        self.under_way: Counter[str] = Counter()
        """Calls that are not answered yet."""
        self._gates: dict[str, asyncio.Event] = {}

    def hold(self, method: str) -> None:
        """Let calls of ``method`` wait until :meth:`let_go`."""
        self._gates[method] = asyncio.Event()

    def let_go(self, method: str) -> None:
        self._gates.pop(method).set()

    @asynccontextmanager
    async def _call(self, method: str) -> AsyncIterator[Store]:
        self.calls[method] += 1
        self.under_way[method] += 1
        try:
            gate = self._gates.get(method)
            if gate is not None:
                await gate.wait()
            if self.away:
                raise StoreUnavailable("it is away")
            yield self.real
        finally:
            self.under_way[method] -= 1

    def commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Answer[Committed]:
        return answer_of(self._commit(chats, receipts))

    async def _commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Committed:
        async with self._call("commit") as real:
            return await real.commit(chats, receipts)

    async def heads(self, owners: Sequence[UserId]) -> Mapping[UserId, int]:
        async with self._call("heads") as real:
            return await real.heads(owners)

    async def entries(self, owner: UserId, after: int, limit: int) -> list[InboxEntry]:
        async with self._call("entries") as real:
            return await real.entries(owner, after, limit)

    async def unreceived(self, owner: UserId, page: Page) -> list[InboxEntry]:
        async with self._call("unreceived") as real:
            return await real.unreceived(owner, page)

    async def received_by(self, owner: UserId, page: Page) -> list[InboxEntry]:
        async with self._call("received_by") as real:
            return await real.received_by(owner, page)

    async def position(self, owner: UserId, chat_id: ChatId) -> int | None:
        async with self._call("position") as real:
            return await real.position(owner, chat_id)

    async def delivered(
        self, sender: UserId, receiver: UserId, chat_ids: Sequence[ChatId]
    ) -> set[ChatId]:
        async with self._call("delivered") as real:
            return await real.delivered(sender, receiver, chat_ids)

    async def ping(self) -> None:
        async with self._call("ping") as real:
            await real.ping()

    async def close(self) -> None:
        await self.real.close()


@asynccontextmanager
async def faulty_store(folder: Path) -> AsyncIterator[FaultyStore]:
    """A new SQLite store whose faults the test orders."""
    store = FaultyStore(await SqliteStore.open(folder / "parley.db"))
    try:
        yield store
    finally:
        await store.close()


async def stored(store: Store, *chats: NewChat) -> list[tuple[Chat, int]]:
    """Commit chats; returns them with their positions."""
    committed = await store.commit(chats, [])
    outcomes = [outcome for outcome in committed.chats if isinstance(outcome, Stored)]
    return [(outcome.chat, outcome.seq) for outcome in outcomes if outcome.seq is not None]


class HeldBus(LocalBus):
    """A bus that may take its time to subscribe, and that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        """Nothing is carried."""
        self.restored: Callable[[], None]
        self.subscribed: set[UserId] = set()
        self.notices = 0
        """How many it was given."""
        self.ready = asyncio.Event()
        self.ready.set()

    @property
    def connected(self) -> bool:
        return not self.away

    def attach(
        self, receive: Callable[[UserId, int, bytes], None], restored: Callable[[], None]
    ) -> None:
        super().attach(receive, restored)
        self.restored = restored

    def publish(self, owner: UserId, seq: int, packet: bytes) -> None:
        if not self.away:
            super().publish(owner, seq, packet)

    def notify(self, owner: UserId, packet: bytes) -> None:
        self.notices += 1
        if not self.away:
            super().notify(owner, packet)

    async def subscribe(self, owner: UserId) -> None:
        self.subscribed.add(owner)
        await self.ready.wait()
        await super().subscribe(owner)

    def unsubscribe(self, owner: UserId) -> None:
        self.subscribed.discard(owner)
        super().unsubscribe(owner)


class Attendance:
    """A presence that remembers."""

    def __init__(self) -> None:
        self.users: set[UserId] = set()
        self.told: list[tuple[str, UserId]] = []

    def joined(self, user: UserId) -> None:
        assert user not in self.users
        self.users.add(user)
        self.told.append(("joined", user))

    def left(self, user: UserId) -> None:
        self.users.remove(user)
        self.told.append(("left", user))


def encode(chat: Chat) -> bytes:
    return chat.message.encode()


class Node:
    """A delivery with what it rests on."""

    def __init__(
        self, store: FaultyStore, intervals: Intervals | None = None, *, max_devices: int = 0
    ) -> None:
        """``intervals``: how often to compare; None: not at all."""
        self.store = store
        self.bus = HeldBus()
        self.presence = Attendance()
        self.delivery = Delivery(
            store,
            self.bus,
            encode,
            presence=self.presence,
            intervals=intervals,
            max_devices=max_devices,
        )
        if intervals is not None:
            self.delivery.start()
        self.sent: dict[UserId, int] = {}

    async def send(self, receiver: UserId, count: int = 1, *, lost: Sequence[int] = ()) -> None:
        """Send chats that are their positions' numbers; the bus loses those in ``lost``."""
        first = self.sent.get(receiver, 0) + 1
        self.sent[receiver] = last = first + count - 1
        chats = [new_chat(receiver, str(seq)) for seq in range(first, last + 1)]
        for chat, seq in await stored(self.store.real, *chats):
            assert chat.message == str(seq)
            if seq not in lost:
                self.delivery.publish(chat, seq)

    async def device(self, owner: UserId) -> list[int]:
        """Connect a device; returns the positions that it sees, as it sees them."""
        seen: list[int] = []
        inbox = await asyncio.wait_for(self.delivery.open(owner), PATIENCE)
        self.delivery.attach(inbox, Screen(lambda packet: seen.append(int(packet))))
        return seen

    def assert_idle(self) -> None:
        """Nothing is kept of those who have gone."""
        assert self.delivery.users == 0
        assert self.bus.subscribed == set()
        assert self.presence.users == set()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what must happen sooner or later."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - who makes it true knows of no event
            await asyncio.sleep(0.001)


async def settle(turns: int = 10) -> None:
    """Let all that is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)
