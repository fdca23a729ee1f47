"""The numbered schema files, and which of them a database still needs.

Each backend has a folder of its own, ``schema/<backend>/NNN_name.sql``; the
numbers are shared, so that version 3 means the same tables everywhere.  The
database remembers what was applied in the table ``schema_version``.
"""

from __future__ import annotations

from importlib import resources

import msgspec

from parley.errors import StoreBroken

CREATE_VERSIONS = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL PRIMARY KEY)"
"""Valid for every backend, like the next two."""
ADD_VERSION = "INSERT INTO schema_version (version) VALUES ({})"
LAST_VERSION = "SELECT max(version) FROM schema_version"


class Migration(msgspec.Struct, frozen=True):
    """One step from a schema to the next."""

    version: int
    """1 for the first; there are no gaps."""
    script: str


def load(backend: str) -> list[Migration]:
    """Return all migrations of ``backend``, in order."""
    folder = resources.files("parley.store") / "schema" / backend
    files = sorted((file.name, file) for file in folder.iterdir() if file.name.endswith(".sql"))
    migrations = [
        Migration(int(name.partition("_")[0]), file.read_text("utf-8")) for name, file in files
    ]
    if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise RuntimeError(f"the schema files of {backend} are not numbered 1, 2, 3, ...")
    return migrations


def pending(backend: str, applied: int, database: str) -> list[Migration]:
    """Return what a database still needs whose newest applied migration is ``applied`` (or 0).

    Raises StoreBroken, naming ``database``, if it is ahead of this program.
    """
    known = load(backend)
    if applied > len(known):
        raise StoreBroken(
            f"{database} was written by a newer Parley (its schema has version {applied}, this"
            f" one knows {len(known)}); start it with that Parley or a later one."
        )
    return known[applied:]
