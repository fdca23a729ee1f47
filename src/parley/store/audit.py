"""What holds of every sound store, whichever database it is in; and a report of what doesn't.

Each check is one query that gives a row for each place where something is wrong,
so that nothing grows here with what is stored: the database does the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeAlias

import msgspec

from parley.errors import StoreBroken
from parley.store.migrations import load, pending

Tell: TypeAlias = Callable[[str], object]
"""Takes the lines of a report, as soon as each is known."""

EXAMPLES: Final = 10
"""Findings of one check that are shown; the others are counted."""
EARLIEST: Final = 946_684_800_000
"""Milliseconds since the Unix epoch: the year 2000.  Seconds taken for milliseconds, and the clock
of a machine that has forgotten the time, lie before it."""
AHEAD: Final = 86_400_000
"""Milliseconds by which the clock of a node may be ahead of ours."""
LONGEST: Final = 31_536_000_000
"""Milliseconds for which tokens can be revoked: a year, as with ``JWT_REVOCATION_LIFETIME``."""

TABLES: Final = frozenset({"schema_version", "chats", "inbox", "heads"})
"""Those of the first version, by which a store is known."""
LATER_TABLES: Final = frozenset({"revocations"})
VERSIONS: Final = "SELECT version FROM schema_version ORDER BY version"
COUNTS: Final = """
SELECT (SELECT count(*) FROM chats), (SELECT count(*) FROM heads),
  (SELECT count(*) FROM revocations)"""


class Check(msgspec.Struct, frozen=True):
    """Something that holds of every sound store."""

    name: str
    rule: str
    """What holds, in a sentence."""
    query: str
    """Gives a row for each exception from the rule."""
    tells: str
    """Tells of a row: ``{0}`` is its first column."""


SCHEMA: Final = ("schema", "the version of the tables is known")

# For both databases: what the two don't understand alike is left out.
_CHECKS: Final = (
    Check(
        "numbers",
        "every inbox is numbered 1, 2, 3 and so on",
        """
        SELECT owner, previous, seq FROM (
          SELECT owner, seq,
            coalesce(lag(seq) OVER (PARTITION BY owner ORDER BY seq), 0) AS previous
          FROM inbox
        ) AS entry
        WHERE seq <> previous + 1""",
        "the inbox of {0}: after position {1} comes {2}",
    ),
    Check(
        "heads",
        "every inbox ends where its head says",
        """
        SELECT ending.owner, ending.seq, coalesce(head.seq, 0)
        FROM (SELECT owner, max(seq) AS seq FROM inbox GROUP BY owner) AS ending
        LEFT JOIN heads AS head ON head.owner = ending.owner
        WHERE coalesce(head.seq, 0) <> ending.seq
        UNION ALL
        SELECT owner, 0, seq FROM heads AS head
        WHERE NOT EXISTS (SELECT 1 FROM inbox AS entry WHERE entry.owner = head.owner)""",
        "the inbox of {0} ends at {1}, and its head says {2}",
    ),
    Check(
        "entries",
        "every entry of an inbox names a message that is there",
        """
        SELECT owner, seq, chat_id FROM inbox AS entry
        WHERE NOT EXISTS (
          SELECT 1 FROM chats AS chat
          WHERE chat.receiver = entry.owner AND chat.id = entry.chat_id)""",
        "the inbox of {0}: at position {1} is the message {2}, which is not there",
    ),
    Check(
        "messages",
        "every message is in its receiver's inbox",
        """
        SELECT receiver, id, seq FROM chats AS chat
        WHERE NOT EXISTS (
          SELECT 1 FROM inbox AS entry
          WHERE entry.owner = chat.receiver AND entry.seq = chat.seq
            AND entry.chat_id = chat.id)""",
        "the message {1} to {0} is not in the inbox, at position {2}",
    ),
    Check(
        "positions",
        "every message is at its own position, and nowhere else",
        """
        SELECT entry.owner, entry.seq, entry.chat_id, chat.seq
        FROM inbox AS entry
        JOIN chats AS chat ON chat.receiver = entry.owner AND chat.id = entry.chat_id
        WHERE chat.seq <> entry.seq""",
        "the inbox of {0}: at position {1} is the message {2}, whose position is {3}",
    ),
    Check(
        "kinds",
        "every entry is of a kind that this Parley knows",
        "SELECT owner, seq, kind FROM inbox WHERE kind <> 1",
        "the inbox of {0}: position {1} is of the kind {2}",
    ),
    Check(
        "versions",
        "every revocation has a version of its own, from 1",
        """
        SELECT user_id, version FROM revocations AS one
        WHERE version < 1 OR EXISTS (
          SELECT 1 FROM revocations AS other
          WHERE other.version = one.version AND other.user_id <> one.user_id)""",
        "the revocation of {0} has the version {1}",
    ),
)


def checks() -> Iterator[Check]:
    """Those that hold in both databases."""
    yield from _CHECKS
    latest = time.time_ns() // 1_000_000 + AHEAD
    yield Check(
        "times",
        "every message has a time since 2000, and not after tomorrow",
        f"SELECT receiver, id, created_at FROM chats"  # noqa: S608 - numbers
        f" WHERE created_at NOT BETWEEN {EARLIEST} AND {latest}",
        "the message {1} to {0} was sent at {2} ms since 1970",
    )
    # Both are 0 for those whose tokens are accepted again.
    yield Check(
        "revoked",
        "tokens are revoked that were issued since 2000, for a year at most",
        f"SELECT user_id, issued_before, until FROM revocations"  # noqa: S608 - numbers
        f" WHERE (issued_before <> 0 OR until <> 0) AND NOT ("
        f" issued_before BETWEEN {EARLIEST} AND {latest}"
        f" AND until > issued_before AND until <= {latest + LONGEST})",
        "tokens of {0} issued before {1} are refused until {2} ms since 1970",
    )


class Findings:
    """What one check has found."""

    def __init__(self, name: str, rule: str) -> None:
        self.name = name
        self.rule = rule
        self.count = 0
        self.examples: list[str] = []

    def add(self, example: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


class Report:
    """Tells what is found, check by check."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._count = 0

    def begin(self, store: str, chats: int, inboxes: int, revocations: int) -> None:
        """Say what is looked at."""
        counts = f"messages: {chats:,}, inboxes: {inboxes:,}, revocations: {revocations:,}"
        self._tell(f"{store}; {counts}")

    def add(self, findings: Findings) -> None:
        """Tell what one check has found."""
        self._count += findings.count
        state = f"WRONG {findings.count:,}" if findings.count else "ok"
        self._tell(f"  {findings.name:<10} {state:<8} {findings.rule}")
        for example in findings.examples:
            self._tell(f"      {example}")
        if findings.count > len(findings.examples):
            self._tell(f"      and {findings.count - len(findings.examples):,} more")

    def end(self) -> bool:
        """Sum up; True if nothing was found."""
        if self._count:
            word = "finding" if self._count == 1 else "findings"
            self._tell(f"Not sound: {self._count:,} {word}.")
        else:
            self._tell("Sound.")
        return not self._count


def check_store(found: AbstractSet[str], database: str) -> None:
    """Make sure that ``database``, whose tables are ``found``, is a store of Parley's.

    Raises:
        StoreBroken: it isn't.
    """
    if not found >= TABLES:
        raise StoreBroken(f"{database} holds no messages of Parley's; correct DATABASE_DB.")


def check_complete(found: AbstractSet[str], database: str) -> None:
    """Make sure that a store of a version that this Parley knows has all tables.

    Raises:
        StoreBroken: it lacks some.
    """
    for missing in sorted(LATER_TABLES - found):
        raise StoreBroken(
            f"{database} lacks the table {missing}, though its schema has the version of this "
            "Parley; restore a backup."
        )


def version_findings(backend: str, versions: Sequence[Any], database: str) -> Findings:
    """What is wrong with the ``versions`` that the tables of ``database`` are said to have.

    Raises:
        StoreBroken: this Parley can't check them: they are of a newer one, or an older one.
    """
    findings = Findings(*SCHEMA)
    if not versions:
        findings.add("schema_version is empty")
        return findings
    newest = max(versions)
    if pending(backend, newest, database):
        raise StoreBroken(
            f"{database} was written by an older Parley (its schema has version {newest}); run "
            "`parley migrate` first."
        )
    known = {migration.version for migration in load(backend)}
    for version in sorted(known - set(versions)):
        findings.add(f"schema_version lacks version {version}")
    for version in versions:
        if version < 1:
            findings.add(f"schema_version holds version {version}")
    return findings
