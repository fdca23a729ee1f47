"""The backends that the contract suites run on, and what the suites are made of."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from parley.chat.ports import (
    AGAIN,
    Committed,
    IdTaken,
    Marked,
    NewChat,
    Page,
    Receipt,
    Store,
    Stored,
)
from parley.model import Chat, ChatId, EntryKind, InboxEntry, UserId
from parley.store.postgres import PostgresStore
from parley.store.sqlite import SqliteStore

OpenStore = Callable[[], Awaitable[Store]]
"""Opens the same database each time, as another process would."""


def sqlite(request: pytest.FixtureRequest) -> OpenStore:
    folder: Path = request.getfixturevalue("tmp_path")
    return lambda: SqliteStore.open(folder / "parley.db")


def postgres(request: pytest.FixtureRequest) -> OpenStore:
    options = request.getfixturevalue("postgres").options()
    return lambda: PostgresStore.open(options)


def postgres_by_pooler(request: pytest.FixtureRequest) -> OpenStore:
    options = request.getfixturevalue("postgres").options(pooler=True)
    return lambda: PostgresStore.open(options)


# The database of a backend may hold what earlier tests left there: the suites make new users for
# every test.
STORES: dict[str, Callable[[pytest.FixtureRequest], OpenStore]] = {
    "sqlite": sqlite,
    "postgres": postgres,
    "postgres by pooler": postgres_by_pooler,
}


@pytest.fixture(params=STORES)
async def open_store(request: pytest.FixtureRequest) -> AsyncIterator[OpenStore]:
    open_one = STORES[request.param](request)
    opened: list[Store] = []

    async def open_and_note() -> Store:
        opened.append(await open_one())
        return opened[-1]

    yield open_and_note
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: OpenStore) -> Store:
    return await open_store()


NOW = 1_760_000_000_123


def user() -> UserId:
    return UserId(str(uuid.uuid4()))


def new(
    sender: UserId, receiver: UserId, message: str = "hi", chosen: ChatId | None = None
) -> NewChat:
    chat_id = chosen or ChatId(str(uuid.uuid4()))
    return NewChat(chat_id, sender, receiver, message, NOW, chosen_id=chosen is not None)


def chat_of(chat: NewChat, *, received: bool = False) -> Chat:
    return Chat(chat.id, chat.sender, chat.receiver, chat.message, chat.created_at, received)


async def fill(store: Store, owner: UserId, count: int) -> list[NewChat]:
    chats = [new(user(), owner, f"message {number}") for number in range(1, count + 1)]
    await store.commit(chats, [])
    return chats


class Model:
    """The Store port, as simple as can be."""

    def __init__(self) -> None:
        self.inboxes: dict[UserId, list[Chat]] = {}

    def commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Committed:
        return Committed([self._store(c) for c in chats], [self._mark(r) for r in receipts])

    def _store(self, chat: NewChat) -> Stored | IdTaken:
        inbox = self.inboxes.setdefault(chat.receiver, [])
        for old in (old for old in inbox if old.id == chat.id):
            same = msgspec.structs.replace(chat_of(chat), received=old.received) == old
            return Stored(old, None) if same else IdTaken()
        inbox.append(chat_of(chat))
        return Stored(inbox[-1], len(inbox))

    def _mark(self, receipt: Receipt) -> Marked | None:
        inbox = self.inboxes.get(receipt.user, [])
        for index, chat in enumerate(inbox):
            if chat.id == receipt.chat_id:
                inbox[index] = msgspec.structs.replace(chat, received=True)
                return AGAIN if chat.received else Marked(chat.sender)
        return None

    def list(self, owner: UserId, page: Page) -> list[InboxEntry]:
        return [
            InboxEntry(owner, seq, EntryKind.MESSAGE, chat)
            for seq, chat in enumerate(self.inboxes.get(owner, []), 1)
            if page.after < seq and (page.before is None or seq < page.before)
        ]

    def delivered(self, sender: UserId, receiver: UserId) -> set[ChatId]:
        inbox = self.inboxes.get(receiver, [])
        return {chat.id for chat in inbox if chat.sender == sender and chat.received}
