"""The audit finds every damage in a real store, in either database, and nothing in a sound one."""

# ruff: noqa: S608 - the statements are made of these tests' own ids

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from parley.chat.ports import Revocation
from tests.services.postgres import Postgres

from .auditing import (
    ALICE,
    BOB,
    CAROL,
    Database,
    PostgresDatabase,
    SqliteFile,
    chat,
    chat_id,
    findings,
    refused,
)
from .conftest import NOW


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """One without tables yet."""
    if request.param == "sqlite":
        yield SqliteFile(tmp_path / "parley.db")
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.temporary_database() as name:
        yield PostgresDatabase(server, name)


@pytest.fixture
async def filled(database: Database) -> Database:
    """One in which Bob has three messages, and Alice has one.

    Alice was kicked, and so was Bob, whose tokens are accepted again.
    """
    store = await database.open()
    try:
        await store.commit([chat(1), chat(2), chat(3), chat(4, ALICE)], [])
        await store.revocations.put(Revocation(ALICE, NOW, NOW + 60_000, "spam"))
        await store.revocations.put(Revocation(BOB, 0, 0, ""))
    finally:
        await store.close()
    return database


async def test_a_sound_store_is_sound(filled: Database) -> None:
    lines: list[str] = []
    assert await filled.audit(lines.append)
    assert lines[0].endswith("; messages: 4, inboxes: 2, revocations: 2")
    assert all(line.split()[1] == "ok" for line in lines[1:-1])
    assert len(lines) > 8
    assert lines[-1] == "Sound."


async def test_an_empty_store_is_sound(database: Database) -> None:
    await (await database.open()).close()
    assert not await findings(database)


class Damage(NamedTuple):
    """What somebody does to the tables, and what is found of it."""

    statements: str
    found: dict[str, str]
    """Part of an example, by the name of the check."""


LAST_ENTRY = f"DELETE FROM inbox WHERE owner = '{BOB}' AND seq = 3"
DAMAGES = {
    "a gap": Damage(
        f"DELETE FROM inbox WHERE owner = '{BOB}' AND seq = 2;"
        f"DELETE FROM chats WHERE receiver = '{BOB}' AND seq = 2",
        {"numbers": f"the inbox of {BOB}: after position 1 comes 3"},
    ),
    "no first entry": Damage(
        f"DELETE FROM inbox WHERE owner = '{BOB}' AND seq = 1;"
        f"DELETE FROM chats WHERE receiver = '{BOB}' AND seq = 1",
        {"numbers": f"the inbox of {BOB}: after position 0 comes 2"},
    ),
    "a position before the first": Damage(
        f"UPDATE inbox SET seq = 0 WHERE owner = '{ALICE}';"
        f"UPDATE chats SET seq = 0 WHERE receiver = '{ALICE}'",
        {"numbers": "after position 0 comes 0", "heads": "ends at 0, and its head says 1"},
    ),
    "a head too low": Damage(
        f"UPDATE heads SET seq = 2 WHERE owner = '{BOB}'",
        {"heads": f"the inbox of {BOB} ends at 3, and its head says 2"},
    ),
    "a head too high": Damage(
        f"UPDATE heads SET seq = 7 WHERE owner = '{BOB}'",
        {"heads": f"the inbox of {BOB} ends at 3, and its head says 7"},
    ),
    "no head": Damage(
        f"DELETE FROM heads WHERE owner = '{BOB}'",
        {"heads": f"the inbox of {BOB} ends at 3, and its head says 0"},
    ),
    "a head without an inbox": Damage(
        f"INSERT INTO heads (owner, seq) VALUES ('{CAROL}', 4)",
        {"heads": f"the inbox of {CAROL} ends at 0, and its head says 4"},
    ),
    "an entry without its message": Damage(
        f"DELETE FROM chats WHERE receiver = '{BOB}' AND seq = 3",
        {"entries": f"the inbox of {BOB}: at position 3 is the message {chat_id(3)}, which"},
    ),
    "a message without its entry": Damage(
        f"{LAST_ENTRY}; UPDATE heads SET seq = 2 WHERE owner = '{BOB}'",
        {"messages": f"the message {chat_id(3)} to {BOB} is not in the inbox, at position 3"},
    ),
    "a message twice in an inbox": Damage(
        "INSERT INTO inbox (owner, seq, kind, chat_id)"
        f" VALUES ('{BOB}', 4, 1, '{chat_id(1)}');"
        f"UPDATE heads SET seq = 4 WHERE owner = '{BOB}'",
        {"positions": f"at position 4 is the message {chat_id(1)}, whose position is 1"},
    ),
    "a position given twice": Damage(
        f"UPDATE chats SET seq = 1 WHERE receiver = '{BOB}' AND seq = 2",
        {
            "messages": f"the message {chat_id(2)} to {BOB} is not in the inbox, at position 1",
            "positions": f"at position 2 is the message {chat_id(2)}, whose position is 1",
        },
    ),
    "an entry in another's inbox": Damage(
        f"UPDATE inbox SET owner = '{CAROL}' WHERE owner = '{ALICE}'",
        {
            "heads": f"the inbox of {CAROL} ends at 1, and its head says 0",
            "entries": f"the inbox of {CAROL}: at position 1 is the message {chat_id(4)}",
            "messages": f"the message {chat_id(4)} to {ALICE} is not in the inbox",
        },
    ),
    "an unknown kind": Damage(
        f"UPDATE inbox SET kind = 9 WHERE owner = '{BOB}' AND seq = 2",
        {"kinds": f"the inbox of {BOB}: position 2 is of the kind 9"},
    ),
    "seconds for milliseconds": Damage(
        f"UPDATE chats SET created_at = 1760000000 WHERE id = '{chat_id(2)}'",
        {"times": f"the message {chat_id(2)} to {BOB} was sent at 1760000000 ms since 1970"},
    ),
    "a time far ahead": Damage(
        f"UPDATE chats SET created_at = 99999999999999 WHERE id = '{chat_id(2)}'",
        {"times": "was sent at 99999999999999 ms"},
    ),
    "a revocation that nobody sees": Damage(
        f"UPDATE revocations SET version = 0 WHERE user_id = '{ALICE}'",
        {"versions": f"the revocation of {ALICE} has the version 0"},
    ),
    "a version twice": Damage(
        "CREATE TABLE copies AS SELECT * FROM revocations; DROP TABLE revocations;"
        "ALTER TABLE copies RENAME TO revocations; UPDATE revocations SET version = 2",
        {"versions": f"the revocation of {ALICE} has the version 2"},
    ),
    "a revocation in seconds": Damage(
        f"UPDATE revocations SET issued_before = 1760000000 WHERE user_id = '{ALICE}'",
        {"revoked": f"tokens of {ALICE} issued before 1760000000 are refused until {NOW + 60_000}"},
    ),
    "a revocation of what is still to be issued": Damage(
        f"UPDATE revocations SET issued_before = {2**62}, until = {2**62 + 1}"
        f" WHERE user_id = '{ALICE}'",
        {"revoked": f"tokens of {ALICE} issued before {2**62} are refused"},
    ),
    "a revocation for ever": Damage(
        f"UPDATE revocations SET until = {2**62} WHERE user_id = '{ALICE}'",
        {"revoked": f"are refused until {2**62} ms since 1970"},
    ),
    "a revocation that ends before it begins": Damage(
        f"UPDATE revocations SET until = {NOW} - 1 WHERE user_id = '{ALICE}'",
        {"revoked": f"are refused until {NOW - 1} ms since 1970"},
    ),
    "no version": Damage("DELETE FROM schema_version", {"schema": "schema_version is empty"}),
    "a version of nobody's": Damage(
        "INSERT INTO schema_version (version) VALUES (-3)",
        {"schema": "schema_version holds version -3"},
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damage_is_found(filled: Database, damage: Damage) -> None:
    filled.execute(damage.statements)
    found = await findings(filled)
    assert found.keys() == damage.found.keys()
    for name, part in damage.found.items():
        assert any(part in example for example in found[name]), found


async def test_each_check_shows_ten_examples_and_counts_the_others(database: Database) -> None:
    store = await database.open()
    try:
        await store.commit([chat(number) for number in range(1, 1213)], [])
    finally:
        await store.close()
    database.execute("UPDATE inbox SET kind = 3")
    found = (await findings(database))["kinds"]
    assert len(found) == 11
    assert found[-1] == "and 1,202 more"


async def test_what_is_stored_meanwhile_is_no_finding(filled: Database) -> None:
    """All checks see one moment."""
    store = await filled.open()
    commits = itertools.count(1)
    done = 0

    async def write() -> None:
        nonlocal done
        for number in commits:
            await store.commit([chat(100 + number, user) for user in (BOB, CAROL)], [])
            done = number

    writing = asyncio.create_task(write())
    try:
        while done < 20:
            assert not await findings(filled)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await store.close()


async def test_an_audit_changes_nothing_and_disturbs_nobody(filled: Database) -> None:
    store = await filled.open()
    try:
        before = await store.entries(BOB, 0, 10)
        assert not await findings(filled)
        assert await store.entries(BOB, 0, 10) == before
        await store.commit([chat(5)], [])
        assert await store.heads([BOB]) == {BOB: 4}
    finally:
        await store.close()


async def test_a_store_of_a_newer_parley_is_left_to_that_one(filled: Database) -> None:
    filled.execute("INSERT INTO schema_version (version) VALUES (999)")
    assert "was written by a newer Parley" in await refused(filled.audit)


async def test_a_store_of_an_older_parley_is_brought_up_to_date_first(filled: Database) -> None:
    filled.execute("DELETE FROM schema_version WHERE version = 2; DROP TABLE revocations")
    assert "run `parley migrate` first" in await refused(filled.audit)


async def test_a_store_without_one_of_its_tables(filled: Database) -> None:
    filled.execute("DROP TABLE revocations")
    assert "lacks the table revocations" in await refused(filled.audit)


async def test_a_database_of_others_is_not_looked_at(database: Database) -> None:
    database.execute("CREATE TABLE chats (id integer)")
    assert "holds no messages of Parley's; correct DATABASE_DB." in await refused(database.audit)


ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()


@pytest.mark.parametrize(
    "damage", [name for name, each in DAMAGES.items() if each.found.keys() == {"heads"}]
)
async def test_heads_are_repaired_as_the_documentation_says(filled: Database, damage: str) -> None:
    filled.execute(DAMAGES[damage].statements)
    block = re.search(r"### Heads that are wrong\n.*?```sql\n(.*?);\n```", OPERATIONS, re.DOTALL)
    assert block
    filled.execute(block[1])
    assert not await findings(filled)


async def test_the_documentation_names_every_check(filled: Database) -> None:
    lines: list[str] = []
    await filled.audit(lines.append)
    checks = {line.split()[0] for line in lines[1:-1]}
    section = OPERATIONS.partition("\n## Checking the database\n")[2].partition("\n## ")[0]
    assert checks <= set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
