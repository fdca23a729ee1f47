"""What every store of revocations promises (see ``parley.chat.ports``), on every backend.

A database may hold what earlier tests left there: hence each begins with what is newest.
"""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from parley.chat.ports import Revocation, RevocationStore
from parley.errors import StoreUnavailable
from parley.store.postgres import PostgresStore
from parley.store.sqlite import SqliteStore

from .conftest import NOW, OpenStore, user

FOR_EVER = 2**62


async def opened(open_store: OpenStore) -> RevocationStore:
    store = await open_store()
    assert isinstance(store, SqliteStore | PostgresStore)
    return store.revocations


def kick(until: int = FOR_EVER, reason: str = "") -> Revocation:
    return Revocation(user(), NOW, until, reason)


def unversioned(revocations: list[Revocation]) -> list[Revocation]:
    return [msgspec.structs.replace(each, version=0) for each in revocations]


async def test_what_is_put_is_a_change(open_store: OpenStore) -> None:
    store = await opened(open_store)
    start = await store.newest()
    ann, bob = kick(reason="Grüße, 'and' \"so on\""), kick()
    await store.put(ann)
    await store.put(bob)
    changes = await store.changes(start, -1, 10)
    assert unversioned(changes) == [ann, bob]
    assert start < changes[0].version < changes[1].version == await store.newest()
    assert await store.changes(changes[0].version, -1, 10) == changes[1:]
    assert await store.changes(changes[1].version, -1, 10) == []


async def test_a_user_has_one_and_the_last_one_counts(open_store: OpenStore) -> None:
    store = await opened(open_store)
    start = await store.newest()
    first, other = kick(), kick()
    lifted = Revocation(first.user, 0, 0, "")
    for each in (first, other, lifted):
        await store.put(each)
    assert unversioned(await store.changes(start, -1, 10)) == [other, lifted]


async def test_those_that_have_ended_may_be_left_out(open_store: OpenStore) -> None:
    store = await opened(open_store)
    start = await store.newest()
    ended, lasting = kick(until=NOW), kick(until=NOW + 1)
    await store.put(lasting)
    await store.put(ended)
    assert unversioned(await store.changes(start, NOW, 10)) == [lasting]
    assert await store.newest() > (await store.changes(start, NOW, 10))[0].version


async def test_page_by_page(open_store: OpenStore) -> None:
    store = await opened(open_store)
    start = await store.newest()
    kicks = [kick() for _ in range(5)]
    for each in kicks:
        await store.put(each)
    seen: list[Revocation] = []
    while page := await store.changes(seen[-1].version if seen else start, -1, 2):
        assert len(page) <= 2
        seen += page
    assert unversioned(seen) == kicks


async def test_whoever_follows_misses_nothing_that_several_put_at_once(
    open_store: OpenStore,
) -> None:
    writers = [await opened(open_store) for _ in range(3)]
    store = await opened(open_store)
    start = await store.newest()
    kicks = [[kick() for _ in range(10)] for _ in writers]

    async def write(writer: RevocationStore, own: list[Revocation]) -> None:
        for each in own:
            await writer.put(each)

    writing = asyncio.gather(*map(write, writers, kicks))
    seen: list[Revocation] = []
    while not writing.done() or len(seen) < 30:
        seen += await store.changes(seen[-1].version if seen else start, -1, 100)
        assert len(seen) <= 30
        await asyncio.sleep(0.001)
    await writing
    assert {each.user for each in seen} == {each.user for own in kicks for each in own}


async def test_they_are_kept(open_store: OpenStore) -> None:
    one = await open_store()
    assert isinstance(one, SqliteStore | PostgresStore)
    start, own = await one.revocations.newest(), kick()
    await one.revocations.put(own)
    await one.close()
    with pytest.raises(StoreUnavailable):
        await one.revocations.newest()
    again = await opened(open_store)
    assert unversioned(await again.changes(start, -1, 10)) == [own]
