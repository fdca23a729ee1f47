"""Parley on a store that answers at once: what is left is transport, protocol and rules.

    python -m bench.instant

Reads the variables that ``parley start`` reads; no database is touched.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence

import uvicorn

from parley.app import PATH, Parley
from parley.backends import Backends, Place
from parley.bus.local import LocalBus
from parley.chat.ports import Committed, NewChat, Page, Receipt, Stored
from parley.clock import SystemClock
from parley.listen import bind
from parley.model import Chat, ChatId, InboxEntry, UserId
from parley.serving import loop_factory, spare_collector
from parley.settings import load_settings
from parley.socketio.front import FrontProtocol
from parley.socketio.websocket import websocket_protocol


class InstantStore:
    """Numbers chats as a store does, and forgets them: of an inbox only its head is kept."""

    def __init__(self) -> None:
        self._heads: dict[UserId, int] = {}

    async def commit(self, chats: Sequence[NewChat], receipts: Sequence[Receipt]) -> Committed:
        return Committed([self._stored(new) for new in chats], [True] * len(receipts))

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

    async def ping(self) -> None:
        pass

    async def close(self) -> None:
        pass


async def serve(parley: Parley, sock: socket.socket) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        parley.asgi,
        ws=websocket_protocol({PATH: parley.server.engine}),
        http=FrontProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    await parley.start()
    spare_collector()
    try:
        await uvicorn.Server(config).serve([sock])
    finally:
        await parley.close()


async def main() -> None:
    settings = load_settings(os.environ, dotenv=None)
    backends = Backends(InstantStore(), LocalBus())
    parley = Parley(settings, Place(), backends, SystemClock())
    with bind(settings.host, settings.port) as sock:
        await serve(parley, sock)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())
