"""A database that was filled is one of Parley's, as if all had been sent."""

from __future__ import annotations

from bench.load.users import make_users
from bench.seed import SEED, fill
from parley.chat.ports import NewChat, Page, Stored
from parley.model import ChatId, UserId
from parley.store.postgres import PostgresStore
from tests.services.postgres import Postgres

SECRET = "only the ids of the users are of interest here"


async def test_inboxes_are_complete_and_go_on_from_there(postgres: Postgres) -> None:
    user, other = (UserId(each.id) for each in make_users(SECRET, SEED, 2))
    with postgres.temporary_database() as database:
        store = await PostgresStore.open(postgres.options(database=database))
        try:
            fill(lambda statement: postgres.execute(statement, database), 3000)
            assert await store.heads([user, other]) == {user: 3, other: 3}
            entries = await store.entries(user, 0, 10)
            assert [entry.seq for entry in entries] == [1, 2, 3]
            assert await store.received_by(user, Page(10)) == entries
            assert await store.unreceived(user, Page(10)) == []
            assert postgres.execute("SELECT count(*) FROM chats", database) == [(3000,)]

            new = NewChat(
                ChatId("0" * 8 + "-0000-4000-8000-" + "0" * 12), other, user, "one more", 1
            )
            (stored,) = (await store.commit([new], [])).chats
            assert isinstance(stored, Stored)
            assert stored.seq == 4
        finally:
            await store.close()
