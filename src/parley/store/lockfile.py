"""One server per SQLite file.

Several processes may read and write such a file, but a push reaches only the
devices of the process that stored the message: a second server on the same
file would leave its users waiting.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from parley.errors import StoreBroken

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment] # a module by its name, and there is none


@contextlib.contextmanager
def serving(database: Path) -> Iterator[None]:
    """Be the one server of a database file meanwhile.

    The lock ends with the process, however that ends.

    Raises:
        StoreBroken: another server has it, or the lock can't be made.
    """
    database = database.resolve()  # the same lock by whatever name it is called
    path = database.with_name(f"{database.name}.lock")
    try:
        file = path.open("w")
    except OSError as exc:
        raise StoreBroken(
            f"The file {path} cannot be written: {exc.strerror}. Allow it, or choose another "
            "place for the database."
        ) from exc
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise StoreBroken(
                    f"Another Parley is serving the database {database}: stop that one, or use "
                    "another file."
                ) from exc
        yield
