"""The budgets: what each path cost when that was last accepted.

They are kept in ``budgets.json``, which ``python -m tests.performance --save``
writes, as :func:`tests.performance.figures.summary` makes them of three runs.
Lower them with a change that makes something faster; a change that raises one
shows it to its reviewers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from tests.performance.figures import Report

_FILE: Final = Path(__file__).with_name("budgets.json")


def load() -> Report:
    """The budgets as they are."""
    return msgspec.json.decode(_FILE.read_bytes(), type=Report)


def save(report: Report) -> None:
    """Make the figures of a report the budgets."""
    _FILE.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
