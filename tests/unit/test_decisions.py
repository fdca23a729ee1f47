"""The records of decisions are complete, numbered and listed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs/decisions"
INDEX = FOLDER / "index.md"
RECORDS = sorted(path for path in FOLDER.glob("*.md") if path != INDEX)
HEADINGS = ["Context", "Decision", "Consequences"]


def test_records_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in RECORDS]
    assert numbers == list(range(1, len(RECORDS) + 1))


def test_the_index_lists_every_record() -> None:
    assert re.findall(r"^\| \[\d{4}\]\((.*?)\)", INDEX.read_text(), re.MULTILINE) == [
        path.name for path in RECORDS
    ]


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name[:4])
def test_a_record_says_what_was_decided_and_why(record: Path) -> None:
    text = record.read_text()
    assert text.startswith(f"# {record.name[:4]}: ")
    assert re.search(r"^(Accepted|Replaced by \[\d{4}\]\(.*\.md\))\.$", text, re.MULTILINE)
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[:3] == HEADINGS
    assert headings[3:] in (["What else was tried"], ["What else was considered"])
