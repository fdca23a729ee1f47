"""What every Store promises (see ``parley.chat.ports``), on every backend."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parley.chat.ports import Committed, IdTaken, Marked, NewChat, Page, Receipt, Store, Stored
from parley.errors import StoreUnavailable
from parley.model import ChatId, EntryKind, InboxEntry
from tests.contract.conftest import NOW, Model, OpenStore, chat_of, fill, new, user

ALL = Page(limit=1000)


def seqs(outcome: Committed) -> list[int | None]:
    return [each.seq for each in outcome.chats if isinstance(each, Stored)]


# --- numbering ----------------------------------------------------------------------------------


async def test_numbers_each_inbox_from_one_without_gaps(store: Store) -> None:
    ann, bob, eve = user(), user(), user()
    first = await store.commit([new(eve, ann), new(eve, bob), new(bob, ann)], [])
    second = await store.commit([new(ann, bob)], [])
    third = await store.commit([new(bob, ann), new(bob, eve), new(ann, bob)], [])
    assert [seqs(outcome) for outcome in (first, second, third)] == [[1, 1, 2], [2], [3, 1, 3]]


async def test_answers_each_chat_in_the_order_given(store: Store) -> None:
    ann = user()
    chats = [new(user(), ann, str(number)) for number in range(500)]
    outcome = await store.commit(chats, [])
    assert outcome.chats == [Stored(chat_of(chat), seq) for seq, chat in enumerate(chats, 1)]
    assert [entry.chat.id for entry in await store.entries(ann, 0, 1000)] == [c.id for c in chats]


async def test_nothing_to_commit(store: Store) -> None:
    assert await store.commit([], []) == Committed([], [])


async def test_a_chat_to_oneself(store: Store) -> None:
    ann = user()
    chat = new(ann, ann)
    outcome = await store.commit([chat], [Receipt(ann, chat.id)])
    assert outcome == Committed([Stored(chat_of(chat), 1)], [Marked(ann)])
    assert await store.entries(ann, 0, 10) == [
        InboxEntry(ann, 1, EntryKind.MESSAGE, chat_of(chat, received=True))
    ]


async def test_several_writers_number_one_inbox(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(3)]
    ann, bob = user(), user()

    async def write(store: Store) -> list[int | None]:
        numbers: list[int | None] = []
        for _ in range(20):
            numbers += seqs(await store.commit([new(bob, ann), new(ann, bob), new(bob, ann)], []))
        return numbers

    numbers = await asyncio.gather(*[write(store) for store in stores])
    assert sorted(n for each in numbers for n in each[0::3] + each[2::3] if n) == [*range(1, 121)]
    assert sorted(n for each in numbers for n in each[1::3] if n) == [*range(1, 61)]
    assert [entry.seq for entry in await stores[0].entries(ann, 0, 1000)] == [*range(1, 121)]


# --- all or nothing -----------------------------------------------------------------------------


async def test_a_call_that_fails_stores_nothing(store: Store) -> None:
    ann, bob = user(), user()
    await store.commit([old := new(bob, ann)], [])
    # A lone surrogate can't be stored anywhere, as it isn't text.
    with pytest.raises(ValueError, match="surrogate"):
        await store.commit([new(bob, ann), new(bob, ann, "\ud800")], [Receipt(ann, old.id)])
    assert await store.heads([ann]) == {ann: 1}
    assert len(await store.unreceived(ann, ALL)) == 1
    assert seqs(await store.commit([new(bob, ann)], [])) == [2]


async def test_a_call_that_was_given_up_is_carried_out(open_store: OpenStore) -> None:
    ann = user()
    store = await open_store()
    given_up = asyncio.ensure_future(store.commit([new(user(), ann), new(user(), ann)], []))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    await store.close()
    store = await open_store()
    assert seqs(await store.commit([new(user(), ann)], [])) == [3]
    assert [entry.seq for entry in await store.entries(ann, 0, 10)] == [1, 2, 3]


async def test_readers_see_whole_commits_in_order(store: Store) -> None:
    ann, bob = user(), user()
    done = asyncio.Event()

    async def read() -> int:
        seen = 0
        while not done.is_set():
            entries = await store.entries(ann, 0, 1000)
            assert [entry.seq for entry in entries] == [*range(1, len(entries) + 1)]
            assert len(entries) % 10 == 0
            assert len(entries) >= seen
            seen = len(entries)
            assert (await store.heads([ann]))[ann] >= seen
        return seen

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for _ in range(50):
        outcome = await store.commit([new(bob, ann) for _ in range(10)], [])
        assert await store.heads([ann]) == {ann: seqs(outcome)[-1]}
    done.set()
    assert max(await asyncio.gather(*readers)) > 0


# --- ids that clients choose --------------------------------------------------------------------


async def test_sending_again_does_not_store_again(store: Store) -> None:
    ann, bob = user(), user()
    chat = new(bob, ann, chosen=ChatId(str(uuid.uuid4())))
    await store.commit([chat], [])
    await store.commit([new(bob, ann)], [Receipt(ann, chat.id)])
    later = NewChat(chat.id, bob, ann, chat.message, NOW + 5000, chosen_id=True)
    outcome = await store.commit([later, new(bob, ann)], [])
    assert outcome.chats[0] == Stored(chat_of(chat, received=True), None)
    assert seqs(outcome) == [None, 3]
    assert len(await store.entries(ann, 0, 10)) == 3


async def test_sending_twice_in_one_call_stores_once(store: Store) -> None:
    ann, bob = user(), user()
    chat = new(bob, ann, chosen=ChatId(str(uuid.uuid4())))
    outcome = await store.commit([chat, new(bob, ann), chat], [])
    assert seqs(outcome) == [1, 2, None]
    assert outcome.chats[2] == Stored(chat_of(chat), None)


@pytest.mark.parametrize("same_call", [False, True])
async def test_an_id_belongs_to_one_chat_of_an_inbox(store: Store, same_call: bool) -> None:
    ann, bob, eve = user(), user(), user()
    chosen = ChatId(str(uuid.uuid4()))
    first = new(bob, ann, "hi", chosen)
    others = [new(eve, ann, "hi", chosen), new(bob, ann, "ho", chosen)]
    if same_call:
        outcomes = (await store.commit([first, *others, new(bob, ann)], [])).chats[1:]
    else:
        await store.commit([first], [])
        outcomes = (await store.commit([*others, new(bob, ann)], [])).chats
    assert outcomes[:2] == [IdTaken()] * 2
    assert isinstance(outcomes[2], Stored)
    assert outcomes[2].seq == 2
    assert await store.heads([ann]) == {ann: 2}


@pytest.mark.parametrize("same_call", [False, True])
async def test_an_id_may_be_chosen_for_every_inbox(store: Store, same_call: bool) -> None:
    ann, bob = user(), user()
    chosen = ChatId(str(uuid.uuid4()))
    to_ann, to_bob = new(bob, ann, "hi", chosen), new(ann, bob, "ho", chosen)
    calls = [[to_ann, to_bob]] if same_call else [[to_ann], [to_bob]]
    outcomes = [each for chats in calls for each in (await store.commit(chats, [])).chats]
    assert outcomes == [Stored(chat_of(to_ann), 1), Stored(chat_of(to_bob), 1)]
    assert (await store.commit([], [Receipt(ann, chosen)])).receipts == [Marked(bob)]
    [of_ann], [of_bob] = await store.entries(ann, 0, 9), await store.entries(bob, 0, 9)
    assert of_ann.chat == chat_of(to_ann, received=True)
    assert of_bob.chat == chat_of(to_bob)
    again = (await store.commit([to_ann, to_bob], [])).chats
    assert again == [Stored(of_ann.chat, None), Stored(of_bob.chat, None)]
    assert await store.position(ann, chosen) == await store.position(bob, chosen) == 1


async def test_choosing_an_id_that_nobody_chose(store: Store) -> None:
    ann, bob = user(), user()
    chat = new(bob, ann)
    await store.commit([chat], [])
    outcome = await store.commit([new(bob, ann, chat.message, chat.id)], [])
    assert outcome.chats == [Stored(chat_of(chat), None)]


# --- reading ------------------------------------------------------------------------------------


async def test_heads_of_many(store: Store) -> None:
    owners = [user() for _ in range(2500)]
    await store.commit([new(owners[0], owner) for owner in owners[::2]], [])
    await store.commit([new(owners[0], owners[0])], [])
    heads = await store.heads(owners)
    assert heads == {owners[0]: 2} | {
        owner: (number + 1) % 2 for number, owner in enumerate(owners) if number
    }
    assert await store.heads([]) == {}


async def test_entries_after_a_position(store: Store) -> None:
    ann = user()
    chats = await fill(store, ann, 450)
    everything = await store.entries(ann, 0, 1000)
    assert everything == [
        InboxEntry(ann, seq, EntryKind.MESSAGE, chat_of(chat)) for seq, chat in enumerate(chats, 1)
    ]
    for after, limit in [(0, 1), (0, 200), (10, 3), (100, 201), (449, 5), (450, 5), (900, 5)]:
        assert await store.entries(ann, after, limit) == everything[after : after + limit]
    assert await store.entries(user(), 0, 10) == []


async def test_unreceived_gives_the_oldest_within_the_page(store: Store) -> None:
    ann = user()
    chats = await fill(store, ann, 450)
    await store.commit([], [Receipt(ann, chat.id) for chat in chats[::2]])

    async def positions(page: Page) -> list[int]:
        return [entry.seq for entry in await store.unreceived(ann, page)]

    assert await positions(ALL) == [*range(2, 451, 2)]
    assert await positions(Page(limit=3)) == [2, 4, 6]
    assert await positions(Page(limit=3, after=4)) == [6, 8, 10]
    assert await positions(Page(limit=9, after=4, before=10)) == [6, 8]
    assert await positions(Page(limit=1, before=10)) == [2]
    assert await positions(Page(limit=9, after=10, before=4)) == []
    await store.commit([], [Receipt(ann, chat.id) for chat in chats])
    assert await positions(ALL) == []


async def test_received_by_gives_the_newest_within_the_page(store: Store) -> None:
    ann = user()
    chats = await fill(store, ann, 450)
    await store.commit([new(ann, user())], [Receipt(ann, chats[-1].id)])

    async def positions(page: Page) -> list[int]:
        return [entry.seq for entry in await store.received_by(ann, page)]

    assert await positions(ALL) == [*range(1, 451)]
    assert await positions(Page(limit=3)) == [448, 449, 450]
    assert await positions(Page(limit=201)) == [*range(250, 451)]
    assert await positions(Page(limit=3, before=300)) == [297, 298, 299]
    assert await positions(Page(limit=3, after=10)) == [11, 12, 13]
    assert await positions(Page(limit=3, after=10, before=20)) == [17, 18, 19]
    assert await positions(Page(limit=30, after=10, before=13)) == [11, 12]
    [last] = await store.received_by(ann, Page(limit=1))
    assert last.chat == chat_of(chats[-1], received=True)


async def test_position_of_a_chat(store: Store) -> None:
    ann, bob = user(), user()
    chats = await fill(store, ann, 3)
    assert [await store.position(ann, chat.id) for chat in chats] == [1, 2, 3]
    assert await store.position(bob, chats[0].id) is None
    assert await store.position(chats[0].sender, chats[0].id) is None
    assert await store.position(ann, ChatId(str(uuid.uuid4()))) is None


TEXTS = [
    "👩🏽‍🚀🇺🇳 e\u0301 é",
    "שלום \u202e עולם مرحبا",
    "x" * 10_000,
    "😀" * 10_000,
    "'; DROP TABLE chats; -- \" \\ \\u0041 %s :a ? $1",
    " \t\r\n\u2028\x01\x7f\ufeff\uffff ",
    '{"a": [1, null]}',
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_texts_come_back_as_they_were(store: Store, text: str) -> None:
    ann = user()
    chat = new(user(), ann, text, ChatId(str(uuid.uuid4())))
    assert (await store.commit([chat], [])).chats == [Stored(chat_of(chat), 1)]
    assert (await store.commit([chat], [])).chats == [Stored(chat_of(chat), None)]
    for entries in (
        await store.entries(ann, 0, 1),
        await store.unreceived(ann, ALL),
        await store.received_by(ann, ALL),
    ):
        assert [entry.chat for entry in entries] == [chat_of(chat)]


# --- opening and closing ------------------------------------------------------------------------


async def test_ping(store: Store) -> None:
    await store.ping()


async def test_what_was_committed_is_there_for_the_next_process(open_store: OpenStore) -> None:
    ann = user()
    first = await open_store()
    chats = await fill(first, ann, 3)
    await first.commit([], [Receipt(ann, chats[0].id)])
    await first.close()
    second = await open_store()
    assert [entry.seq for entry in await second.unreceived(ann, ALL)] == [2, 3]
    assert seqs(await second.commit([new(user(), ann)], [])) == [4]


async def test_closing_finishes_what_was_accepted(open_store: OpenStore) -> None:
    ann = user()
    store = await open_store()
    accepted = asyncio.ensure_future(store.commit([new(user(), ann)], []))
    reads = [asyncio.create_task(store.entries(ann, 0, 10)) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert seqs(await accepted) == [1]
    assert all(len(entries) <= 1 for entries in await asyncio.gather(*reads))
    assert await (await open_store()).heads([ann]) == {ann: 1}


async def test_a_closed_store_is_unavailable(store: Store) -> None:
    await asyncio.gather(store.close(), store.close())
    await store.close()
    ann, chat_id = user(), ChatId(str(uuid.uuid4()))
    for call in (
        store.commit([new(ann, ann)], []),
        store.heads([ann]),
        store.entries(ann, 0, 1),
        store.unreceived(ann, ALL),
        store.received_by(ann, ALL),
        store.position(ann, chat_id),
        store.delivered(ann, ann, [chat_id]),
        store.ping(),
    ):
        with pytest.raises(StoreUnavailable):
            await call


# --- against a model ----------------------------------------------------------------------------


people = st.integers(0, 2)
ids = st.integers(0, 5)
sends = st.tuples(people, people, st.sampled_from(["a", "b"]), st.none() | ids)
commits = st.tuples(st.lists(sends, max_size=5), st.lists(st.tuples(people, ids), max_size=3))
pages = st.builds(
    Page, limit=st.integers(1, 9), after=st.integers(0, 6), before=st.none() | st.integers(1, 9)
)


# One store serves all examples: each has users of its own.
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.tuples(commits, pages), max_size=8))
async def test_behaves_like_the_model(
    store: Store,
    steps: list[tuple[tuple[list[tuple[int, int, str, int | None]], list[tuple[int, int]]], Page]],
) -> None:
    users, model = [user() for _ in range(3)], Model()
    pool = [ChatId(str(uuid.uuid4())) for _ in range(6)]
    for (drawn, marks), page in steps:
        chats = [
            new(users[sender], users[receiver], text, None if index is None else pool[index])
            for sender, receiver, text, index in drawn
        ]
        receipts = [Receipt(users[person], pool[index]) for person, index in marks]
        assert await store.commit(chats, receipts) == model.commit(chats, receipts)
        for owner in users:
            expected = model.list(owner, page)
            oldest = page.after and page.before is None
            cut = slice(page.limit) if oldest else slice(-page.limit, None)
            assert await store.received_by(owner, page) == expected[cut]
            assert (
                await store.unreceived(owner, page)
                == [entry for entry in expected if not entry.chat.received][: page.limit]
            )
        everything = {owner: model.list(owner, Page(limit=99)) for owner in users}
        assert await store.heads(users) == {o: len(each) for o, each in everything.items()}
        for owner, entries in everything.items():
            assert await store.entries(owner, page.after, 99) == entries[page.after :]
            for chat_id in pool:
                found = [entry.seq for entry in entries if entry.chat.id == chat_id]
                assert await store.position(owner, chat_id) == (found[0] if found else None)
            for sender in users:
                expected_ids = model.delivered(sender, owner) & set(pool)
                assert await store.delivered(sender, owner, pool) == expected_ids
