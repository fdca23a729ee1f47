"""Parley on a store that answers at once: what is left is transport, protocol and rules.

    python -m bench.instant

Reads the variables that ``parley start`` reads, and serves as that does; no database is touched.

A commit is answered in the loop's next turn, so that batches are rather too small than too large:
with 50 senders and four messages of each on their way, a commit held 37 messages on average, beside
90 on PostgreSQL.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from unittest.mock import patch

from parley import logs, serving
from parley.answer import Answer
from parley.backends import Backends, Place, open_keys
from parley.bus.local import LocalBus
from parley.chat.ports import AGAIN, Committed, NewChat, Page, Receipt, Revocation, Stored
from parley.listen import bind
from parley.model import Chat, ChatId, InboxEntry, UserId
from parley.settings import Settings
from parley.settings_loading import load_settings


class InstantStore:
    """Numbers chats as a store does, and forgets them: of an inbox only its head is kept.

    Of revocations nothing is kept.
    """

    def __init__(self) -> None:
        self._heads: dict[UserId, int] = {}

    def commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Answer[Committed]:
        committed: Answer[Committed] = Answer()
        outcome = Committed([self._stored(new) for new in chats], [AGAIN] * len(receipts))
        asyncio.get_running_loop().call_soon(committed.set, outcome)
        return committed

    def _stored(self, new: NewChat) -> Stored:
        seq = self._heads[new.receiver] = self._heads.get(new.receiver, 0) + 1
        chat = Chat(new.id, new.sender, new.receiver, new.message, new.created_at, False)
        return Stored(chat, seq)

    async def heads(self, owners: Sequence[UserId]) -> Mapping[UserId, int]:
        return {owner: self._heads.get(owner, 0) for owner in owners}

    async def entries(self, owner: UserId, after: int, limit: int) -> list[InboxEntry]:
        return []

    async def unreceived(self, owner: UserId, page: Page) -> list[InboxEntry]:
        return []

    async def received_by(self, owner: UserId, page: Page) -> list[InboxEntry]:
        return []

    async def position(self, owner: UserId, chat_id: ChatId) -> int | None:
        return None

    async def delivered(
        self, sender: UserId, receiver: UserId, chat_ids: Sequence[ChatId]
    ) -> set[ChatId]:
        return set()

    async def put(self, revocation: Revocation) -> None:
        pass

    async def newest(self) -> int:
        return 0

    async def changes(self, after: int, until_after: int, limit: int) -> list[Revocation]:
        return []

    async def ping(self) -> None:
        pass

    async def close(self) -> None:
        pass


@asynccontextmanager
async def open_instant(settings: Settings, place: Place) -> AsyncIterator[Backends]:
    """In place of :func:`parley.backends.open_backends`."""
    store = InstantStore()
    yield Backends(store, LocalBus(), await open_keys(settings), store)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = load_settings(os.environ, dotenv=None)
    logs.configure(settings.log_level, settings.log_format)
    # All the rest is the server's own, so that nothing else differs.
    with (
        patch.object(serving, "open_backends", open_instant),
        bind(settings.host, settings.port) as sock,
    ):
        serving.serve(settings, sock)


if __name__ == "__main__":
    main()
