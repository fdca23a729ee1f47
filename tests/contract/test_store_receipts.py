"""What every Store promises of receipts (see ``parley.chat.ports``), on every backend."""

from __future__ import annotations

import asyncio
import uuid

from parley.chat.ports import AGAIN, Committed, Marked, Page, Receipt, Store, Stored
from parley.model import ChatId
from tests.contract.conftest import OpenStore, chat_of, fill, new, user

ALL = Page(limit=1000)


# --- marking ------------------------------------------------------------------------------------


async def test_only_the_receiver_marks(store: Store) -> None:
    ann, bob = user(), user()
    [chat] = await fill(store, ann, 1)
    unknown = ChatId(str(uuid.uuid4()))
    receipts = [Receipt(chat.sender, chat.id), Receipt(bob, chat.id), Receipt(ann, unknown)]
    assert (await store.commit([], receipts)).receipts == [None, None, None]
    assert len(await store.unreceived(ann, ALL)) == 1
    receipts = [Receipt(bob, chat.id), Receipt(ann, chat.id)]
    assert (await store.commit([], receipts)).receipts == [None, Marked(chat.sender)]
    assert await store.unreceived(ann, ALL) == []
    [entry] = await store.entries(ann, 0, 10)
    assert entry.chat == chat_of(chat, received=True)


async def test_marking_twice_is_fine_and_the_first_time_tells_the_sender(store: Store) -> None:
    ann = user()
    [chat] = await fill(store, ann, 1)
    receipt = Receipt(ann, chat.id)
    assert (await store.commit([], [receipt, receipt])).receipts == [Marked(chat.sender), AGAIN]
    assert (await store.commit([], [receipt])).receipts == [AGAIN]
    stored = new(user(), ann)
    receipt = Receipt(ann, stored.id)
    outcome = await store.commit([stored], [receipt, receipt])
    assert outcome.receipts == [Marked(stored.sender), AGAIN]


async def test_answers_each_receipt_in_the_order_given(store: Store) -> None:
    ann, bob = user(), user()
    chats = [*await fill(store, ann, 300), *await fill(store, bob, 200)]
    chats.sort(key=lambda chat: chat.message)
    before = [Receipt(chat.receiver, chat.id) for chat in chats[::3]]
    await store.commit([], before)
    fresh, unknown = [new(ann, bob) for _ in range(5)], Receipt(bob, ChatId(str(uuid.uuid4())))
    receipts = [unknown] + [Receipt(chat.receiver, chat.id) for chat in [*chats, *fresh]]
    outcome = await store.commit(fresh, receipts)
    marked = [AGAIN if number % 3 == 0 else Marked(c.sender) for number, c in enumerate(chats)]
    assert outcome.receipts == [None, *marked, *[Marked(ann)] * len(fresh)]


async def test_of_all_who_mark_a_chat_at_the_same_time_one_tells_the_sender(
    open_store: OpenStore,
) -> None:
    stores = [await open_store() for _ in range(3)]
    ann = user()
    for _ in range(10):
        chats = await fill(stores[0], ann, 50)
        receipts = [Receipt(ann, chat.id) for chat in chats]
        marked = await asyncio.gather(*(store.commit([], receipts) for store in stores))
        for chat, *outcomes in zip(chats, *(each.receipts for each in marked), strict=True):
            assert sorted(outcomes, key=repr) == [Marked(chat.sender), AGAIN, AGAIN]


async def test_receipts_come_after_the_chats_of_their_call(store: Store) -> None:
    ann = user()
    chats = [new(user(), ann), new(user(), ann)]
    outcome = await store.commit(chats, [Receipt(ann, chats[1].id)])
    assert outcome == Committed(
        [Stored(chat_of(chats[0]), 1), Stored(chat_of(chats[1]), 2)], [Marked(chats[1].sender)]
    )
    assert [entry.seq for entry in await store.unreceived(ann, ALL)] == [1]


# --- asking -------------------------------------------------------------------------------------


async def test_delivered_is_what_one_sent_and_the_other_marked(store: Store) -> None:
    ann, bob, eve = user(), user(), user()
    chats = [new(ann, bob) for _ in range(5)]
    others = [new(eve, bob), new(ann, eve), new(bob, ann), new(ann, ann)]
    await store.commit([*chats, *others], [])
    marked = [chats[1], chats[3], *others]
    await store.commit([], [Receipt(chat.receiver, chat.id) for chat in marked])
    asked = [ChatId(str(uuid.uuid4())), *(chat.id for chat in [*chats, *others])]
    assert await store.delivered(ann, bob, asked) == {chats[1].id, chats[3].id}
    assert await store.delivered(eve, bob, asked) == {others[0].id}
    assert await store.delivered(ann, ann, asked) == {others[3].id}
    assert await store.delivered(bob, eve, asked) == set()
    assert await store.delivered(ann, bob, [chats[3].id, chats[0].id] * 2) == {chats[3].id}
    assert await store.delivered(ann, bob, []) == set()


async def test_delivered_is_of_one_inbox_if_several_have_the_id(store: Store) -> None:
    ann, bob, eve = user(), user(), user()
    chosen = ChatId(str(uuid.uuid4()))
    await store.commit([new(ann, bob, "hi", chosen), new(ann, eve, "hi", chosen)], [])
    await store.commit([], [Receipt(eve, chosen)])
    assert await store.delivered(ann, bob, [chosen]) == set()
    assert await store.delivered(ann, eve, [chosen]) == {chosen}
