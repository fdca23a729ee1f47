"""The lists: what they hold, how they are cut, and that they stall nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from parley.chat.listing import Listing, Query
from parley.chat.ports import Receipt
from parley.errors import ChatError, ErrorCode
from parley.model import Chat, UserId

from . import (
    ALICE,
    BOB,
    CAROL,
    PATIENCE,
    FaultyStore,
    new_chat,
    settle,
    stored,
    until,
    user,
)

UNKNOWN = "0f9c1b2a-3d4e-4f5a-8b6c-7d8e9f0a1b2c"
KEYS = ["id", "sender", "receiver", "message", "createdAt", "received"]


class Reader:
    """Bob, who asks for his lists."""

    def __init__(self, store: FaultyStore, max_chats: int = 10_000, max_bytes: int = 10**7) -> None:
        self.store = store
        self.listing = Listing(store, max_chats=max_chats, max_bytes=max_bytes)
        self.chats: list[Chat] = []
        """Everything sent to Bob, the oldest first."""

    async def gets(self, count: int, *senders: UserId) -> None:
        """Bob is sent so many chats, by each of the senders in turn."""
        senders = senders or (ALICE, CAROL)
        first = len(self.chats)
        new = [
            new_chat(BOB, str(number), senders[number % len(senders)])
            for number in range(first, first + count)
        ]
        self.chats += [chat for chat, _ in await stored(self.store.real, *new)]

    async def marks(self, *numbers: int) -> None:
        receipts = [Receipt(BOB, self.chats[number].id) for number in numbers]
        committed = await self.store.real.commit([], receipts)
        assert all(committed.receipts)

    async def unreceived(self, **query: Any) -> list[int]:
        """The numbers of the chats on the list, in its order."""
        found = msgspec.json.decode(await self.listing.unreceived(BOB, Query(**query)))
        assert isinstance(found, list)
        return self._numbers(found, received=False)

    async def all(self, **query: Any) -> dict[str, list[int]]:
        """The same of each sender's list."""
        found = msgspec.json.decode(await self.listing.all(BOB, Query(**query)))
        assert isinstance(found, dict)
        return {sender: self._numbers(chats) for sender, chats in found.items()}

    async def all_numbers(self, **query: Any) -> list[int]:
        return sorted(n for numbers in (await self.all(**query)).values() for n in numbers)

    def _numbers(self, found: list[dict[str, Any]], *, received: bool | None = None) -> list[int]:
        for chat in found:
            expected = self.chats[int(chat["message"])]
            assert list(chat) == KEYS
            assert msgspec.convert({**chat, "received": False}, Chat) == expected
            assert received is None or chat["received"] is received
        return [int(chat["message"]) for chat in found]


@pytest.fixture
def reader(store: FaultyStore) -> Reader:
    return Reader(store)


# What they hold


async def test_nothing_was_sent(reader: Reader) -> None:
    assert await reader.listing.unreceived(BOB, Query()) == b"[]"
    assert await reader.listing.all(BOB, Query()) == b"{}"


async def test_everything_by_sender_the_oldest_first(reader: Reader) -> None:
    await reader.gets(5, ALICE, CAROL)
    await reader.gets(2, CAROL)
    assert await reader.all() == {ALICE: [0, 2, 4], CAROL: [1, 3, 5, 6]}


async def test_unreceived_until_it_is_marked(reader: Reader) -> None:
    await reader.gets(6)
    await reader.marks(0, 3, 5)
    assert await reader.unreceived() == [1, 2, 4]
    found = msgspec.json.decode(await reader.listing.all(BOB, Query()))
    received = [int(c["message"]) for chats in found.values() for c in chats if c["received"]]
    assert sorted(received) == [0, 3, 5]


async def test_each_sees_ones_own_alone(reader: Reader) -> None:
    await reader.gets(2)
    await stored(reader.store, new_chat(ALICE, "for Alice", BOB))
    assert await reader.all_numbers() == await reader.unreceived() == [0, 1]


async def test_any_text_is_encoded(reader: Reader) -> None:
    text = '"\\/\b\n\u2028 é 😀 </script>'
    await stored(reader.store, new_chat(BOB, text))
    (chat,) = msgspec.json.decode(await reader.listing.unreceived(BOB, Query()))
    assert chat["message"] == text


# Pages


@pytest.mark.parametrize("count", [199, 200, 201, 400, 450])
async def test_more_than_one_page(reader: Reader, count: int) -> None:
    """A list is read 200 at a time; that must not show."""
    await reader.gets(count)
    everything = list(range(count))
    assert await reader.unreceived() == everything
    assert await reader.all() == {ALICE: everything[::2], CAROL: everything[1::2]}
    await reader.marks(*everything[::3])
    assert await reader.unreceived() == [n for n in everything if n % 3]


@pytest.mark.parametrize("limit", [1, 10, 200, 201, 399, 10**9])
async def test_limit(reader: Reader, limit: int) -> None:
    """The oldest of the unreceived, but the newest of all."""
    await reader.gets(450)
    everything = list(range(450))
    assert await reader.unreceived(limit=limit) == everything[:limit]
    assert await reader.all_numbers(limit=limit) == everything[-limit:]


@pytest.mark.parametrize("limit", [0, -1, -(10**9)])
async def test_limits_that_are_refused(reader: Reader, limit: int) -> None:
    for ask in (reader.unreceived, reader.all):
        with pytest.raises(ChatError, match="limit") as caught:
            await ask(limit=limit)
        assert caught.value.code is ErrorCode.BAD_REQUEST


async def test_after_and_before(reader: Reader) -> None:
    await reader.gets(500)
    at = [chat.id for chat in reader.chats]
    assert await reader.unreceived(after=at[250]) == list(range(251, 500))
    assert await reader.unreceived(before=at[250]) == list(range(250))
    assert await reader.unreceived(before=at[250], limit=3) == [0, 1, 2]
    assert await reader.unreceived(after=at[250], limit=3) == [251, 252, 253]
    assert await reader.unreceived(after=at[10], before=at[13].upper()) == [11, 12]
    assert await reader.unreceived(after=at[499]) == []
    assert await reader.unreceived(before=at[0]) == []
    assert await reader.all_numbers(after=at[250]) == list(range(251, 500))
    assert await reader.all_numbers(before=at[250]) == list(range(250))
    assert await reader.all_numbers(after=at[250], limit=210) == list(range(251, 461))
    assert await reader.all_numbers(before=at[250], limit=210) == list(range(40, 250))
    assert await reader.all_numbers(after=at[10], before=at[400], limit=3) == [397, 398, 399]
    assert await reader.all_numbers(after=at[10].upper(), before=at[12]) == [11]
    assert await reader.all_numbers(after=at[12], before=at[10]) == []


async def test_all_can_be_read_in_parts_in_either_direction(reader: Reader) -> None:
    await reader.gets(70, ALICE)
    parts: list[int] = []
    query: dict[str, Any] = {}
    while found := await reader.all_numbers(limit=30, **query):
        parts = found + parts
        query = {"before": reader.chats[found[0]].id}
    assert parts == list(range(70))
    parts, query = [0], {"after": reader.chats[0].id}
    while found := await reader.all_numbers(limit=30, **query):
        parts += found
        query = {"after": reader.chats[found[-1]].id}
    assert parts == list(range(70))


@pytest.mark.parametrize("field", ["before", "after"])
@pytest.mark.parametrize("text", ["", "1", UNKNOWN[:-1], UNKNOWN + " "])
async def test_ids_that_are_refused(reader: Reader, field: str, text: str) -> None:
    for ask in (reader.unreceived, reader.all):
        with pytest.raises(ChatError, match=field) as caught:
            await ask(**{field: text})
        assert caught.value.code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize("field", ["before", "after"])
async def test_chats_of_others_are_as_good_as_unknown(reader: Reader, field: str) -> None:
    ((other, _),) = await stored(reader.store, new_chat(ALICE, "for Alice", BOB))
    answers: list[str] = []
    for chat_id in (other.id, UNKNOWN):
        for ask in (reader.unreceived, reader.all):
            with pytest.raises(ChatError) as caught:
                await ask(**{field: chat_id})
            assert caught.value.code is ErrorCode.NOT_FOUND
            answers.append(caught.value.message)
    assert len(set(answers)) == 1


# Bounds


@pytest.mark.parametrize("limit", [None, 7, 1000])
async def test_at_most_so_many_chats(store: FaultyStore, limit: int | None) -> None:
    reader = Reader(store, max_chats=10)
    await reader.gets(20)
    expected = min(limit or 10, 10)
    assert await reader.unreceived(limit=limit) == list(range(expected))
    assert await reader.all_numbers(limit=limit) == list(range(20 - expected, 20))


async def test_about_so_many_bytes(store: FaultyStore) -> None:
    """The list ends after the page that reaches the bound."""
    reader = Reader(store, max_bytes=50_000)
    await reader.gets(1000)
    assert await reader.unreceived() == list(range(400))
    assert await reader.all_numbers() == list(range(600, 1000))
    assert 50_000 < len(await reader.listing.unreceived(BOB, Query())) < 100_000


@pytest.mark.parametrize("name", ["unreceived", "received_by"])
async def test_a_few_lists_at_a_time(reader: Reader, name: str) -> None:
    await reader.gets(3)
    make = reader.listing.unreceived if name == "unreceived" else reader.listing.all
    reader.store.hold(name)
    asking = [asyncio.create_task(make(user(number), Query())) for number in range(20)]
    await until(lambda: reader.store.under_way[name])
    await settle()
    assert reader.store.under_way[name] == 4
    asking[0].cancel()  # who goes makes room
    await until(lambda: reader.store.calls[name] == 5)
    assert reader.store.under_way[name] == 4
    reader.store.let_go(name)
    await asyncio.wait_for(asyncio.gather(*asking[1:]), PATIENCE)
    assert reader.store.calls[name] == 20


async def test_one_user_cannot_take_all_places(reader: Reader) -> None:
    reader.store.hold("unreceived")
    greedy = [asyncio.create_task(reader.listing.unreceived(BOB, Query())) for _ in range(20)]
    await until(lambda: reader.store.under_way["unreceived"])
    await settle()
    assert reader.store.under_way["unreceived"] == 1
    other = asyncio.create_task(reader.listing.unreceived(user(1), Query()))
    await until(lambda: reader.store.under_way["unreceived"] == 2)
    greedy[1].cancel()  # who waits may go
    reader.store.let_go("unreceived")
    assert await asyncio.wait_for(other, PATIENCE) == b"[]"
    await asyncio.wait_for(asyncio.gather(*greedy, return_exceptions=True), PATIENCE)
    assert reader.store.calls["unreceived"] == 20


async def test_others_get_their_turns_while_a_large_list_is_made(reader: Reader) -> None:
    await reader.gets(3000)
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    for make in (reader.listing.unreceived, reader.listing.all):
        turns = 0
        await make(BOB, Query())
        assert turns >= 15  # one for each page
    ticking.cancel()


# Trouble


Make = Callable[[Listing], Awaitable[bytes]]


@pytest.mark.parametrize(
    "make",
    [
        lambda listing: listing.unreceived(BOB, Query()),
        lambda listing: listing.all(BOB, Query()),
        lambda listing: listing.unreceived(BOB, Query(after=UNKNOWN)),
        lambda listing: listing.all(BOB, Query(before=UNKNOWN)),
    ],
)
async def test_while_the_store_is_away(reader: Reader, make: Make) -> None:
    reader.store.away = True
    for _ in range(5):  # more than may be made at a time: each gives its place back
        with pytest.raises(ChatError) as caught:
            await asyncio.wait_for(make(reader.listing), PATIENCE)
        assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
        assert caught.value.retryable
        assert "away" not in caught.value.message
    reader.store.away = False
    assert await reader.listing.all(BOB, Query()) == b"{}"
