"""Each incident is counted, and told as often as somebody wants to read it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from parley import incidents, logs
from parley.incidents import FIELDS, MAX_SUBJECTS, Incident, fault, tell

logger = logging.getLogger("parley.tests")


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield


def fields(record: logging.LogRecord) -> dict[str, object]:
    return dict(getattr(record, FIELDS))


def test_an_incident_has_a_line_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    tell(logger, Incident.STORE_FAILED, "it failed", reason=OSError("full"), operation="commit")
    (record,) = caplog.records
    assert record.getMessage() == "it failed: full"
    assert record.levelno == logging.WARNING
    assert fields(record) == {"kind": "store_failed", "reason": "full", "operation": "commit"}
    assert incidents.totals()[Incident.STORE_FAILED] == 1


def test_what_happens_often_is_counted_each_time_and_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        tell(logger, Incident.BUS_DROPPED, "dropped", reason="away")
    assert len(caplog.records) == 1
    assert incidents.totals()[Incident.BUS_DROPPED] == 5
    monkeypatch.setattr(incidents, "PAUSE", 0.0)
    tell(logger, Incident.BUS_DROPPED, "dropped", reason="away")
    assert fields(caplog.records[-1])["untold"] == 4


def test_subjects_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    for subject in ("a", "b", "a"):
        tell(logger, Incident.EVENT_REFUSED, "refused", reason=subject, subject=subject)
    assert [fields(record)["reason"] for record in caplog.records] == ["a", "b"]


def test_what_is_limited_otherwise_is_always_told(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        tell(logger, Incident.BUS_LOST, "lost", reason="cut", always=True)
    assert len(caplog.records) == 3


def test_subjects_are_forgotten_before_they_are_too_many(caplog: pytest.LogCaptureFixture) -> None:
    for number in [*range(MAX_SUBJECTS + 1), 0]:
        tell(logger, Incident.CALL_FAILED, "failed", reason="x", subject=str(number))
    assert len(caplog.records) == MAX_SUBJECTS + 2  # the first had been forgotten
    tell(logger, Incident.CALL_FAILED, "failed", reason="x", subject=str(MAX_SUBJECTS))
    assert len(caplog.records) == MAX_SUBJECTS + 2


def test_a_fault_shows_what_was_raised(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise KeyError("a detail")
    except KeyError:
        fault(logger, "something failed")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "a detail" in caplog.text
    assert fields(record) == {"kind": "fault", "reason": "KeyError"}


def test_lines_of_json_hold_the_fields() -> None:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    stream = io.StringIO()
    try:
        logs.configure("info", "json", stream)
        tell(logger, Incident.GAP_FILLED, "filled", reason="lost", password="p")
    finally:
        root.handlers = before
        root.setLevel(level)
        logging.captureWarnings(False)
    line = json.loads(stream.getvalue())
    assert (line["kind"], line["reason"]) == ("gap_filled", "lost")
    assert line["password"] == logs.REDACTED
