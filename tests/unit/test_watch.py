from __future__ import annotations

from pathlib import Path

import pytest

from parley import watch


@pytest.fixture
def package(tmp_path: Path) -> Path:
    package = tmp_path / "site" / "parley"
    (package / "store" / "schema").mkdir(parents=True)
    (package / "__pycache__").mkdir()
    return package


def test_it_looks_at_the_package_and_the_working_directory(package: Path, tmp_path: Path) -> None:
    directories = watch._directories(package, tmp_path / ".env")

    assert set(directories) == {
        package,
        package / "store",
        package / "store" / "schema",
        tmp_path,
    }


@pytest.mark.parametrize(
    ("path", "matters"),
    [
        (".env", True),
        ("site/parley/app.py", True),
        ("site/parley/store/schema/001_chats.sql", True),
        ("site/parley/app.pyc", False),
        ("site/parley/.app.py.swp", False),
        ("notes.py", False),
        (".env.example", False),
        ("parley.db-wal", False),
    ],
)
def test_what_matters(path: str, matters: bool, package: Path, tmp_path: Path) -> None:
    assert watch._matters(tmp_path / path, package, tmp_path / ".env") is matters
