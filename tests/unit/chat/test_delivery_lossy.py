"""Delivery over buses that lose, repeat and reorder: no device notices."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from parley.chat.delivery import Delivery
from parley.chat.inbox import Inbox
from parley.errors import ChatError
from parley.model import UserId

from . import FaultyStore, new_chat, stored, until, user

USERS = [user(number) for number in range(1, 4)]
SEEDS = range(4)


class Network:
    """Carries pushes between nodes as badly as the Bus port allows."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be safe
        self.faithful = False
        """From now on nothing happens to what is carried."""
        self.nodes: list[NetworkBus] = []

    def carry(self, owner: UserId, seq: int, packet: bytes) -> None:
        loop = asyncio.get_running_loop()
        for node in self.nodes:
            copies = 1 if self.faithful else self.chance.choice((0, 0, 1, 1, 1, 2, 3))
            for _ in range(copies):
                if self.faithful or self.chance.random() < 0.3:
                    node.arrived(owner, seq, packet)
                else:
                    delay = self.chance.random() * 0.04  # some longer than a gap is waited for
                    loop.call_later(delay, node.arrived, owner, seq, packet)


class NetworkBus:
    """One node's end of a network: a :class:`parley.chat.ports.Bus`."""

    def __init__(self, network: Network) -> None:
        self.losses = self.dropped = self.malformed = 0
        self.subscribed: set[UserId] = set()
        self._network = network
        self._receive: Callable[[UserId, int, bytes], None]
        network.nodes.append(self)

    @property
    def connected(self) -> bool:
        return True

    def attach(
        self, receive: Callable[[UserId, int, bytes], None], restored: Callable[[], None]
    ) -> None:
        self._receive = receive

    @property
    def listened(self) -> bool:
        return False

    def publish(self, owner: UserId, seq: int, packet: bytes) -> None:
        self._network.carry(owner, seq, packet)

    def notify(self, owner: UserId, packet: bytes) -> None:
        """Nobody listens."""

    def listen(self, hear: Callable[[UserId, bytes], None] | None) -> None:
        """Notices are lost, all of them."""

    def announce_revocations(self) -> None:
        """There are none."""

    def on_revocations(self, look: Callable[[], None]) -> None:
        """There are none."""

    async def subscribe(self, owner: UserId) -> None:
        await asyncio.sleep(self._network.chance.random() * 0.002)
        self.subscribed.add(owner)

    def unsubscribe(self, owner: UserId) -> None:
        self.subscribed.discard(owner)

    def sizes(self) -> dict[str, int]:
        return {}

    async def close(self) -> None:
        self.subscribed.clear()

    def arrived(self, owner: UserId, seq: int, packet: bytes) -> None:
        if owner in self.subscribed:
            self._receive(owner, seq, packet)


class Device:
    """What one connected device saw, and what it should have seen."""

    def __init__(self, delivery: Delivery, inbox: Inbox) -> None:
        assert inbox.position is not None
        self.first = inbox.position + 1
        self.seen: list[int] = []
        self._delivery = delivery
        self._inbox = inbox
        delivery.attach(inbox, self)

    def send(self, packet: bytes) -> None:
        self.seen.append(int(packet))

    def check(self) -> None:
        """Each once and in order, without a gap, up to where the inbox stands."""
        assert self._inbox.position is not None
        assert self.seen == list(range(self.first, self._inbox.position + 1))

    def leave(self) -> None:
        self.check()
        self._delivery.detach(self._inbox, self)
        self._delivery.close(self._inbox)


class Cluster:
    """Two nodes on one store and one network, and somebody who sends, store away or not."""

    def __init__(self, store: FaultyStore, seed: int) -> None:
        self.network = Network(seed)
        self.buses = [NetworkBus(self.network), NetworkBus(self.network)]
        self.nodes = [
            Delivery(store, bus, lambda chat: chat.message.encode()) for bus in self.buses
        ]
        self.heads = dict.fromkeys(USERS, 0)
        self._store = store.real

    async def connect(self, node: int, owner: UserId) -> Device:
        delivery = self.nodes[node]
        return Device(delivery, await delivery.open(owner))

    async def send(self, *receivers: UserId) -> None:
        """Commit a chat for each, its text being its position, and publish it."""
        chats = []
        for receiver in receivers:
            self.heads[receiver] += 1
            chats.append(new_chat(receiver, str(self.heads[receiver])))
        sender = self.network.chance.choice(self.nodes)
        for chat, seq in await stored(self._store, *chats):
            sender.publish(chat, seq)

    async def talk(self, rounds: int) -> None:
        for _ in range(rounds):
            receivers = self.network.chance.choices(USERS, k=self.network.chance.randrange(1, 8))
            await self.send(*receivers)
            await asyncio.sleep(self.network.chance.random() * 0.005)

    async def finish(self) -> None:
        """One more for each that does arrive: who misses some before learns of it."""
        self.network.faithful = True
        await self.send(*USERS)

    async def close(self, *devices: Device) -> None:
        for device in devices:
            device.leave()
        assert [node.users for node in self.nodes] == [0, 0]
        assert [bus.subscribed for bus in self.buses] == [set(), set()]
        for node in self.nodes:
            await node.shut_down()


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_device_gets_every_message_once_and_in_order(
    store: FaultyStore, seed: int
) -> None:
    cluster = Cluster(store, seed)
    devices = {owner: [await cluster.connect(node, owner) for node in (0, 0, 1)] for owner in USERS}
    await cluster.talk(40)
    await cluster.finish()
    expected = {owner: [list(range(1, n + 1))] * 3 for owner, n in cluster.heads.items()}
    await until(
        lambda: expected == {owner: [d.seen for d in each] for owner, each in devices.items()}
    )
    assert sum(node.gaps_filled for node in cluster.nodes) > 0, "nothing was lost"
    await asyncio.sleep(0.05)  # what is still on its way changes nothing
    await cluster.close(*(device for connected in devices.values() for device in connected))


@pytest.mark.parametrize("seed", SEEDS)
async def test_while_users_come_and_go(store: FaultyStore, seed: int) -> None:
    cluster = Cluster(store, seed)
    chance = cluster.network.chance
    talking = asyncio.create_task(cluster.talk(60))
    visits = 0

    async def come_and_go(owner: UserId) -> None:
        nonlocal visits
        while not talking.done():
            opening = asyncio.create_task(cluster.connect(chance.randrange(2), owner))
            if chance.random() < 0.2:  # a client that goes while it is being let in
                await asyncio.sleep(chance.random() * 0.002)
                opening.cancel()
            with suppress(asyncio.CancelledError):
                device = await opening
                visits += 1
                await asyncio.sleep(chance.random() * 0.03)
                device.leave()

    steady = [await cluster.connect(number % 2, owner) for number, owner in enumerate(USERS)]
    async with asyncio.TaskGroup() as visitors:
        for owner in USERS * 3:
            visitors.create_task(come_and_go(owner))
    await talking
    assert visits > 9
    await cluster.finish()
    await until(
        lambda: [device.seen[-1:] for device in steady] == [[n] for n in cluster.heads.values()]
    )
    await cluster.close(*steady)


async def test_while_the_store_comes_and_goes(store: FaultyStore) -> None:
    cluster = Cluster(store, 7)
    devices = [await cluster.connect(node, owner) for owner in USERS for node in (0, 1)]
    for away in (True, False, True):
        store.away = away
        await cluster.talk(10)
    with pytest.raises(ChatError):
        await cluster.connect(0, user(99))
    await cluster.finish()
    store.away = False
    heads = [cluster.heads[owner] for owner in USERS for _ in (0, 1)]
    await until(lambda: [len(device.seen) for device in devices] == heads)
    await cluster.close(*devices)
