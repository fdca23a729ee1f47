"""One server per SQLite file."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.errors import StoreBroken
from parley.store.lockfile import serving


def test_a_second_server_is_refused_until_the_first_has_stopped(tmp_path: Path) -> None:
    database = tmp_path / "parley.db"
    with serving(database), pytest.raises(StoreBroken, match="Another Parley"), serving(database):
        pass
    with serving(database):
        pass


def test_another_name_of_the_file_is_no_way_around(tmp_path: Path) -> None:
    database, other = tmp_path / "parley.db", tmp_path / "other.db"
    other.symlink_to(database)
    with serving(database), pytest.raises(StoreBroken, match="Another Parley"), serving(other):
        pass


def test_different_files_are_served_side_by_side(tmp_path: Path) -> None:
    with serving(tmp_path / "a.db"), serving(tmp_path / "b.db"):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    database = tmp_path / "nowhere" / "parley.db"
    with pytest.raises(StoreBroken, match=r"nowhere/parley\.db\.lock cannot be written"):
        serving(database).__enter__()
