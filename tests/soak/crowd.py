"""People who come, talk and leave in every way that there is, the rude ones included."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import aiohttp
from yarl import URL

from tests.e2e.clients import Chat, Device
from tests.e2e.raw import ClosedError, joined, raw_client
from tests.e2e.server import HUSH, PATIENCE, Entrance, new_user

TRANSPORTS: Final = (["websocket"], ["polling"], None)
"""None: polling, and then the upgrade."""
_POLLING: Final = {"EIO": "4", "transport": "polling"}
_HASTE: Final = 400
"""Events that are too many at once."""
_KNOWN: Final = 40
"""Users who come again and again, so that some have several devices and a long inbox."""

Visit: TypeAlias = Callable[[], Awaitable[None]]


class Crowd:
    """So many people at a time, each with one visit after another."""

    def __init__(self, entrances: Sequence[Entrance], size: int, seed: int) -> None:
        """``entrances``: where they connect.  What they do follows from ``seed``."""
        self.visits: Counter[str] = Counter()
        """What was done so far, by name."""
        self.sent = 0
        """Messages that were acknowledged."""
        self._entrances = entrances
        self._http: aiohttp.ClientSession
        self._size = size
        self._chance = random.Random(seed)  # noqa: S311 - repeatable
        self._users = [new_user() for _ in range(_KNOWN)]
        self._visits: list[Visit] = [
            self._talk,
            self._talk,
            self._talk,
            self._hang_up,
            self._show_a_wrong_token,
            self._never_join,
            self._leave_in_the_midst_of_an_upgrade,
            self._talk_nonsense,
            self._ask_for_too_much,
            self._send_too_fast,
            self._stand_in_the_door,
        ]

    async def stay(self, seconds: float) -> None:
        """Come and go for so long; all have left when this returns.

        Raises whatever went wrong with one of the visits.
        """
        until = asyncio.get_running_loop().time() + seconds
        async with aiohttp.ClientSession() as self._http, asyncio.TaskGroup() as people:
            for _ in range(self._size):
                people.create_task(self._person(until))

    async def _person(self, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            visit = self._chance.choice(self._visits)
            await visit()
            self.visits[getattr(visit, "__name__", "visit").strip("_")] += 1
            await asyncio.sleep(self._chance.random() * 0.05)

    def _anywhere(self) -> Entrance:
        return self._chance.choice(self._entrances)

    def _somebody(self) -> str:
        return self._chance.choice(self._users)

    # -- the polite ones

    async def _talk(self) -> None:
        """Connect, send, mark what comes, ask for lists, and say good-bye."""
        chance = self._chance
        receipts = chance.random() < 0.5
        transports = chance.choice(TRANSPORTS)
        device = Device(self._anywhere(), self._somebody(), transports, receipts=receipts)
        await device.connect()
        try:
            receiver = self._somebody()
            texts = [f"{HUSH} {number}" for number in range(chance.randrange(1, 20))]
            sent = await device.send_all(receiver, texts)
            self.sent += len(sent)
            await self._mark(device, device.received("message")[:5])
            await device.unreceived(limit=20)
            await device.everything(limit=20)
            await device.delivered(receiver, sent)
        finally:
            await device.disconnect()

    async def _mark(self, device: Device, chats: Sequence[Chat]) -> None:
        for chat in chats:
            assert await device.mark_received(chat) == {"chatId": chat["id"], "received": True}

    # -- the rude ones

    async def _hang_up(self) -> None:
        """As a client does that is killed: with messages under way, which nobody hears about."""
        receiver = self._somebody()
        async with joined(self._http, self._anywhere(), self._somebody()) as client:
            packet = f'42["send message",{{"receiver":"{receiver}","message":"{HUSH}"}}]'
            await client.send(*([packet] * self._chance.randrange(5)))
            client.abort()

    async def _show_a_wrong_token(self) -> None:
        async with raw_client(self._http, self._anywhere()) as client:
            assert (await client.join("not.a.token")).kind == "4"

    async def _never_join(self) -> None:
        """Begin to poll, and be seen no more."""
        assert (await self._begin_to_poll(self._anywhere())).startswith("0{")

    async def _leave_in_the_midst_of_an_upgrade(self) -> None:
        entrance = self._anywhere()
        opening = await self._begin_to_poll(entrance)
        sid = opening.partition('"sid":"')[2].partition('"')[0]
        query = {"EIO": "4", "transport": "websocket", "sid": sid}
        async with self._http.ws_connect(f"{entrance.url}/socket.io/", params=query) as websocket:
            await websocket.send_str("2probe")
            assert await websocket.receive_str(timeout=PATIENCE) == "3probe"

    async def _begin_to_poll(self, entrance: Entrance) -> str:
        async with self._http.get(f"{entrance.url}/socket.io/", params=_POLLING) as response:
            assert response.status == 200
            return await response.text()

    async def _talk_nonsense(self) -> None:
        """What is no packet ends the connection."""
        async with joined(self._http, self._anywhere(), self._somebody()) as client:
            await client.send("4?")
            try:
                while True:
                    await client.packet()
            except ClosedError:
                pass

    async def _ask_for_too_much(self) -> None:
        """Wrong events are answered with errors, and requests for sessions that are no more."""
        entrance = self._anywhere()
        async with joined(self._http, entrance, self._somebody()) as client:
            await client.send('420["send message",{"receiver":7}]', '421["no such event"]')
            errors = 0
            while errors < 2:
                packet = await client.packet()
                errors += packet.kind == "2" and packet.data[0] == "error"
        query = {**_POLLING, "sid": "no-such-node-" * 3}
        async with self._http.get(f"{entrance.url}/socket.io/", params=query) as response:
            assert response.status == 400

    async def _send_too_fast(self) -> None:
        """More than one connection may: it is slowed, and answered all the same."""
        async with joined(self._http, self._anywhere(), self._somebody()) as client:
            await client.send(*(['42["ping"]'] * _HASTE))
            answered = 0
            while answered < _HASTE:
                answered += (await client.packet()).data == ["pong", "Hello World!"]

    async def _stand_in_the_door(self) -> None:
        """Connect, begin a request, and leave."""
        url = URL(self._anywhere().url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(b"GET /socket.io/ HTTP/1.1\r\nhost:"[: self._chance.randrange(35)])
        await asyncio.sleep(0.1)
        writer.close()
        await writer.wait_closed()
