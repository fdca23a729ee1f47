"""`parley audit`, as an operator runs it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.services.command import parley
from tests.services.postgres import Postgres

from .clients import Devices, numbered
from .server import ChatServer

NO_REDIS = {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": "1"}


async def test_a_file_that_is_being_served(own_server: ChatServer, devices: Devices) -> None:
    alice = await devices.connect(own_server)
    await alice.send_all(alice.user, numbered(20))
    done = parley(own_server.settings, "audit")
    assert (done.returncode, done.stderr) == (0, "")
    first, *_, last = done.stdout.splitlines()
    counts = "messages: 20, inboxes: 1, revocations: 0"
    assert first == f"The SQLite file {own_server.database}; {counts}"
    assert last == "Sound."

    with closing(sqlite3.connect(own_server.database)) as db:
        db.execute("UPDATE heads SET seq = 40")
        db.commit()
    done = parley(own_server.settings, "audit")
    assert (done.returncode, done.stderr) == (1, "")
    assert f"the inbox of {alice.user} ends at 20, and its head says 40" in done.stdout
    assert done.stdout.endswith("Not sound: 1 finding.\n")


def test_postgres_and_no_redis(postgres: Postgres) -> None:
    with postgres.temporary_database() as database:
        settings = {**postgres.environment(database), **NO_REDIS}
        nothing = parley(settings, "audit")
        assert parley(settings, "migrate").returncode == 0
        done = parley(settings, "audit")
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert nothing.stderr.startswith(f"parley: The database '{database}' of PostgreSQL at ")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Sound.\n")


def test_a_database_that_cannot_be_looked_at(tmp_path: Path) -> None:
    missing = tmp_path / "parley.db"
    done = parley({"DATABASE_TYPE": "sqlite", "DATABASE_DB": str(missing)}, "audit")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"parley: There is no file {missing}; correct DATABASE_DB.\n"
