"""What is SQLite's own: the file, its settings, its faults. The rest is in tests/contract."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shutil
import sqlite3
import stat
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import cast

import pytest

from parley.chat.ports import IdTaken, Marked, NewChat, Page, Receipt, Stored
from parley.errors import StoreBroken, StoreUnavailable
from parley.incidents import Incident, totals
from parley.model import ChatId, UserId
from parley.store import sqlite, sqlite_lane, sqlite_schema
from parley.store.sqlite import SqliteStore

ANN = UserId(str(uuid.UUID(int=1)))
BOB = UserId(str(uuid.UUID(int=2)))
ALL = Page(limit=10_000)
NOBODY = 65534

ORPHANS = "SELECT * FROM inbox WHERE chat_id NOT IN (SELECT id FROM chats)"


def chat(receiver: UserId = ANN, message: str = "hi") -> NewChat:
    return NewChat(ChatId(str(uuid.uuid4())), BOB, receiver, message, 1_760_000_000_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "parley.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(path, busy_timeout=0.1)
    yield opened
    await opened.close()


def other_program(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def files_in(folder: Path) -> dict[str, os.stat_result]:
    return {file.name: file.stat() for file in folder.iterdir()}


# --- files that can't be used -------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(StoreBroken) as caught:
        asyncio.run(SqliteStore.open(path, busy_timeout=0.1))
    text = str(caught.value)
    assert re.fullmatch(r"\S[^\n]*\.", text)
    assert not re.search(r"sqlite3|Error|Errno|Traceback|None", text)
    assert str(path) in text
    return text


def text_file(path: Path) -> None:
    path.write_text("These are my notes, and no database.\n" * 100)


def short_text_file(path: Path) -> None:
    path.write_text("notes")


def damaged(path: Path) -> None:
    sqlite_schema.upgrade(path, 1)
    content = bytearray(path.read_bytes())
    content[100:4000] = b"\xaa" * 3900
    path.write_bytes(content)


def foreign(path: Path) -> None:
    with closing(other_program(path)) as db:
        db.execute("CREATE TABLE schema_version (version TEXT)")
        db.execute("INSERT INTO schema_version VALUES ('2.0.1-beta')")


def newer(path: Path) -> None:
    sqlite_schema.upgrade(path, 1)
    with closing(other_program(path)) as db:
        db.execute("INSERT INTO schema_version VALUES (999)")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "is a directory; name a file in it"),
        (text_file, "is not an SQLite database"),
        (short_text_file, "is not an SQLite database"),
        (damaged, "is damaged"),
        (foreign, "is the database of another program"),
        (newer, "was written by a newer Parley"),
    ],
)
def test_says_why_a_file_is_unusable(path: Path, make: Callable[[Path], None], reason: str) -> None:
    make(path)
    content = path.read_bytes() if path.is_file() else None
    assert reason in refusal(path)
    if content is not None:
        assert path.read_bytes() == content


def test_says_that_the_directory_is_missing(tmp_path: Path) -> None:
    assert "is not a directory; create it" in refusal(tmp_path / "missing" / "parley.db")
    (tmp_path / "file").touch()
    assert "is not a directory; create it" in refusal(tmp_path / "file" / "parley.db")


def test_says_that_the_file_is_locked(path: Path) -> None:
    sqlite_schema.upgrade(path, 1)
    with closing(other_program(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert "is locked by another program" in refusal(path)


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that another user can look into, unlike ``tmp_path``."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        Path(name).chmod(0o755)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write everywhere, so be someone else meanwhile."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_says_that_the_directory_is_not_writable(shared_folder: Path) -> None:
    shared_folder.chmod(0o555)
    with without_privileges():
        assert "can't be opened: permission denied" in refusal(shared_folder / "parley.db")


def test_says_that_the_file_is_not_writable(shared_folder: Path) -> None:
    path = shared_folder / "parley.db"
    sqlite_schema.upgrade(path, 1)
    path.chmod(0o444)
    shared_folder.chmod(0o777)
    with without_privileges():
        assert "must be writable" in refusal(path)
    shared_folder.chmod(0o555)
    with without_privileges():
        assert "must be writable" in refusal(path)


def test_says_that_sqlite_is_too_old(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    with pytest.raises(StoreBroken, match=r"needs 3\.37 or later"):
        asyncio.run(SqliteStore.open(path))
    assert not path.exists()


# --- the file -----------------------------------------------------------------------------------


async def test_any_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [":memory:", "file:a?mode=memory", "a b%20#ü.db"]
    for name in names:
        store = await SqliteStore.open(Path(name))
        await store.commit([chat()], [])
        assert await store.heads([ANN]) == {ANN: 1}
        await store.close()
    # One file each, and no other: the write-ahead log is gone.
    assert files_in(tmp_path).keys() == set(names)


async def test_only_its_user_may_read_the_file(store: SqliteStore, path: Path) -> None:
    await store.commit([chat()], [])
    modes = {name: stat.S_IMODE(status.st_mode) for name, status in files_in(path.parent).items()}
    assert modes == dict.fromkeys(("parley.db", "parley.db-shm", "parley.db-wal"), 0o600)


async def test_closing_leaves_nothing_in_the_log(store: SqliteStore, path: Path) -> None:
    other = await SqliteStore.open(path)
    await other.ping()  # it has the log open
    await store.commit([chat()], [])
    await store.close()
    assert files_in(path.parent)["parley.db-wal"].st_size == 0
    await other.close()


async def test_reopening_applies_nothing_twice(path: Path) -> None:
    for number in range(1, 4):
        store = await SqliteStore.open(path)
        await store.commit([chat()], [])
        assert await store.heads([ANN]) == {ANN: number}
        await store.close()
    with closing(other_program(path)) as db:
        assert db.execute("SELECT version FROM schema_version").fetchall() == [(1,), (2,)]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute(ORPHANS).fetchall() == []


async def test_an_older_database_is_brought_up_to_date(path: Path) -> None:
    await (await SqliteStore.open(path)).close()
    assert totals()[Incident.SCHEMA_AWAITED] == 0, "a new one keeps nobody waiting"
    with closing(other_program(path)) as db:
        db.execute("DROP TABLE revocations")
        db.execute("DELETE FROM schema_version WHERE version > 1")
    store = await SqliteStore.open(path)
    assert await store.revocations.newest() == 0
    await store.close()
    assert totals()[Incident.SCHEMA_AWAITED] == 1


async def test_commits_are_on_disk_when_they_return(path: Path) -> None:
    sqlite_schema.upgrade(path, 1)

    def setting(db: sqlite3.Connection, name: str) -> object:
        return db.execute(f"PRAGMA {name}").fetchone()[0]

    with closing(sqlite_lane.connect_writer(path, 1.5)) as db:
        assert setting(db, "journal_mode") == "wal"
        assert setting(db, "synchronous") == 2  # FULL
        assert setting(db, "fullfsync") == 1
        assert setting(db, "busy_timeout") == 1500
    with closing(sqlite_lane.connect_reader(path, 1.5)) as db:
        assert setting(db, "query_only") == 1


WRITER = """
import asyncio, sys, uuid
from pathlib import Path
from parley.chat.ports import NewChat
from parley.store.sqlite import SqliteStore

async def main(path, owner, count):
    store = await SqliteStore.open(Path(path))
    for _ in range(int(count)):
        outcome = await store.commit([NewChat(str(uuid.uuid4()), owner, owner, "hi", 1)], [])
        print(outcome.chats[0].seq, flush=True)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def writer(path: Path, count: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRITER, str(path), ANN, str(count)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


async def test_processes_create_and_share_a_file(path: Path) -> None:
    processes = [await writer(path, 40) for _ in range(4)]
    outputs = [(await process.communicate())[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    numbers = [[int(line) for line in output.split()] for output in outputs]
    assert all(each == sorted(each) for each in numbers)
    assert sorted(number for each in numbers for number in each) == [*range(1, 161)]


async def test_what_was_acknowledged_survives_a_kill(path: Path) -> None:
    process = await writer(path, 1_000_000)
    assert process.stdout is not None
    for _ in range(50):
        await process.stdout.readline()
    process.kill()
    rest, _ = await process.communicate()
    acknowledged = 50 + rest.count(b"\n")
    store = await SqliteStore.open(path)
    entries = await store.entries(ANN, 0, 1_000_000)
    assert [entry.seq for entry in entries] == [*range(1, len(entries) + 1)]
    assert acknowledged <= len(entries) <= acknowledged + 1
    await store.close()


# --- faults while running -----------------------------------------------------------------------


async def test_waits_out_a_lock_and_recovers(store: SqliteStore, path: Path) -> None:
    await store.commit([chat()], [])
    with closing(other_program(path)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.commit([chat()], [])
        assert await store.heads([ANN]) == {ANN: 1}  # reading goes on
    await store.commit([chat()], [])
    assert await store.heads([ANN]) == {ANN: 2}


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file of this process grows beyond the size of the one at ``path``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_stores_nothing_and_is_recovered_from(
    store: SqliteStore, path: Path
) -> None:
    old = [chat() for _ in range(300)]
    await store.commit(old, [])
    before = await store.entries(ANN, 0, 1000)
    receipts = [Receipt(ANN, each.id) for each in old]
    with full_disk(path.with_name("parley.db-wal")):
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match=r"disk|full"):
                await store.commit([chat() for _ in range(300)], receipts)
        assert await store.entries(ANN, 0, 1000) == before
    outcome = await store.commit([chat()], receipts)
    assert [each.seq for each in outcome.chats if isinstance(each, Stored)] == [301]
    assert [entry.seq for entry in await store.unreceived(ANN, ALL)] == [301]
    with closing(other_program(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_file_that_is_away_is_not_made_anew(store: SqliteStore, path: Path) -> None:
    shutil.move(path, path.with_name("away.db"))
    for call in (store.ping(), store.heads([ANN]), store.commit([chat()], [])):
        with pytest.raises(StoreUnavailable, match="unable to open"):
            await call
    assert files_in(path.parent).keys() == {"away.db"}
    shutil.move(path.with_name("away.db"), path)
    await store.ping()
    await store.commit([chat()], [])
    assert await store.heads([ANN]) == {ANN: 1}


async def test_a_fault_of_ours_is_no_outage(store: SqliteStore) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        await store.commit([chat(), chat(message=cast("str", None))], [])
    assert await store.heads([ANN]) == {ANN: 0}
    await store.commit([chat()], [])


async def test_an_id_that_nobody_chose_but_that_exists_is_taken(store: SqliteStore) -> None:
    first = chat()
    await store.commit([first], [])
    again = NewChat(first.id, BOB, ANN, first.message, first.created_at)
    outcome = await store.commit([chat(), again, chat()], [Receipt(ANN, first.id)])
    assert isinstance(outcome.chats[1], IdTaken)
    assert [each.seq for each in outcome.chats if isinstance(each, Stored)] == [2, 3]
    assert outcome.receipts == [Marked(first.sender)]
    assert totals()[Incident.COMMIT_RETRIED] == 1


# --- what queries cost --------------------------------------------------------------------------

QUERIES = ["OLDEST", "NEWEST", "UNRECEIVED", "POSITION", "HEADS", "NUMBERS", "EXISTING"]
QUERIES += ["MARKS", "MARK", "DELIVERED", "ADD_TO_INBOX", "MOVE_HEADS"]
PARAMETERS: dict[str, object] = {"owner": ANN, "after": 0, "before": sqlite.END, "limit": 3}
PARAMETERS |= {"id": "x", "keys": f'[["{ANN}", "x"]]', "rows": "[0]"}
PARAMETERS |= {"owners": f'["{ANN}"]', "last": 10**6}
PARAMETERS |= {"sender": BOB, "receiver": ANN, "ids": '["x"]'}


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_scans_a_table(path: Path, name: str) -> None:
    sqlite_schema.upgrade(path, 1)
    with closing(sqlite_lane.connect_writer(path, 1)) as db:
        query = "EXPLAIN QUERY PLAN " + getattr(sqlite, name)
        plan = [row[3] for row in db.execute(query, PARAMETERS)]
    scans = [step for step in plan if step.startswith("SCAN") and "json_each" not in step]
    assert [step for step in scans if "subquery" not in step and "CONSTANT" not in step] == []
    assert not any("ORDER BY" in step for step in plan)
    if name == "UNRECEIVED":
        assert any("chats_unreceived (receiver=? AND seq>? AND seq<?)" in step for step in plan)


async def test_the_work_does_not_grow_with_what_is_stored(store: SqliteStore, path: Path) -> None:
    def work() -> dict[str, int]:
        steps = dict.fromkeys(QUERIES, 0)
        with closing(sqlite_lane.connect_writer(path, 1)) as db:
            for name in QUERIES:

                def count(name: str = name) -> None:
                    steps[name] += 1

                db.set_progress_handler(count, 1)
                db.execute(getattr(sqlite, name), PARAMETERS).fetchall()
        return steps

    await store.commit([chat(receiver) for receiver in (ANN, BOB) for _ in range(3)], [])
    before = work()
    many = [chat(receiver) for receiver in (ANN, BOB) for _ in range(3000)]
    await store.commit(many, [Receipt(each.receiver, each.id) for each in many])
    await store.commit([chat(BOB) for _ in range(1000)], [])
    assert work() == before
