from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
import structlog

from parley import logs
from parley.incidents import Incident, tell, totals


@pytest.fixture(autouse=True)
def leave_logging_as_it_was() -> Iterator[None]:
    names = ("", "uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access", "asyncio")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_lines_with_time_level_and_fields(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    user = UUID(int=7)

    structlog.get_logger().info("connected", user=str(user), transport="polling", held=None)

    [line] = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["timestamp"].endswith("Z")
    moment = datetime.fromisoformat(line.pop("timestamp"))
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60
    assert line == {
        "level": "info",
        "event": "connected",
        "user": str(user),
        "transport": "polling",
        "held": None,
    }


def test_anything_can_be_a_field(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)

    structlog.get_logger().info("odd", value=object, number=float("nan"), text="two\nlines")

    assert len(lines(stream)) == 1


def test_levels_below_the_configured_one_are_silent(stream: io.StringIO) -> None:
    logs.configure("warning", "json", stream)

    structlog.get_logger().info("no")
    structlog.get_logger().warning("yes")
    logging.getLogger("uvicorn.error").info("no")
    logging.getLogger("uvicorn.error").warning("yes")

    assert [line["event"] for line in lines(stream)] == ["yes", "yes"]


def test_a_silent_call_does_not_even_run_the_processors(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(logs, "redact", fail)
    logs.configure("info", "json", stream)

    structlog.get_logger().debug("no", much="work")


@pytest.mark.parametrize(
    "key",
    [
        "token",
        "Authorization",
        "secret",
        "PASSWORD",
        "message_text",
        "access_token",
        "auth",
        "jwt_previous_secret_key",
    ],
)
@pytest.mark.parametrize("format", ["json", "console"])
def test_private_fields_are_redacted(key: str, format: Any, stream: io.StringIO) -> None:
    logs.configure("info", format, stream)

    structlog.get_logger().info("hello", **{key: "hush"}, headers={"x": {key: "hush"}}, kept="kept")

    assert "hush" not in stream.getvalue()
    assert stream.getvalue().count(logs.REDACTED) == 2
    assert "kept" in stream.getvalue()


def test_redaction_leaves_the_callers_data_alone(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    headers = {"authorization": "hush"}

    structlog.get_logger().info("hello", headers=headers)

    assert headers == {"authorization": "hush"}


def test_uvicorns_lines_take_the_same_form(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)

    logging.getLogger("uvicorn.error").info("Started [%d]", 7, extra={"color_message": "x"})
    logging.getLogger("uvicorn").warning("odd")

    first, second = lines(stream)
    assert first.keys() == {"timestamp", "level", "event", "logger"}
    assert (first["event"], first["logger"]) == ("Started [7]", "uvicorn.error")
    assert (second["level"], second["logger"]) == ("warning", "uvicorn")


def test_an_error_of_a_library_is_a_fault(stream: io.StringIO) -> None:
    logs.configure("error", "json", stream)
    library = logging.getLogger("asyncio")
    try:
        raise KeyError("key")
    except KeyError as error:
        library.error("Exception in callback", exc_info=error)
    library.error("no exception")
    library.warning("slow")
    tell(library, Incident.CERTIFICATE_REFUSED, "no fault", reason="ours, and counted")

    told = [(line["kind"], line["reason"]) for line in lines(stream)]
    assert told[:2] == [("fault", "KeyError"), ("fault", "asyncio")]
    assert told[2:] == [("certificate_refused", "ours, and counted")]
    assert totals()[Incident.FAULT] == 2


def test_there_is_no_access_log(stream: io.StringIO) -> None:
    logs.configure("debug", "json", stream)

    logging.getLogger("uvicorn.access").info("GET /socket.io/?token=hush")

    assert stream.getvalue() == ""


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_traceback_does_not_show_variables(format: Any, stream: io.StringIO) -> None:
    logs.configure("info", format, stream)

    for logger in (structlog.get_logger(), logging.getLogger("parley")):
        try:
            found_in_a_header = "hu" + "sh"
            raise ValueError(len(found_in_a_header))
        except ValueError:
            logger.exception("failed")

    assert stream.getvalue().count("ValueError: 4") == 2
    assert "hush" not in stream.getvalue()


def test_auto_is_json_where_nobody_looks(stream: io.StringIO) -> None:
    logs.configure("info", "auto", stream)
    structlog.get_logger().info("hello")

    assert lines(stream)[0]["event"] == "hello"


def test_auto_is_readable_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    logs.configure("info", "auto", terminal)
    structlog.get_logger().info("hello", user="x")

    assert "hello" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert "\x1b[" in terminal.getvalue(), "colours"


def test_no_colours_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    logs.configure("info", "auto", terminal)
    structlog.get_logger().info("hello", user="x")

    assert "\x1b[" not in terminal.getvalue()


def test_a_field_cannot_forge_a_line_or_move_the_cursor(stream: io.StringIO) -> None:
    logs.configure("info", "console", stream)

    structlog.get_logger().info("hello", text="\x1b[2J\nforged")

    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue().splitlines()) == 1


def test_a_closed_stream_does_not_stop_the_server(stream: io.StringIO) -> None:
    logs.configure("info", "json", stream)
    stream.close()

    structlog.get_logger().info("to nobody")


def test_configuring_again_replaces_the_stream(stream: io.StringIO) -> None:
    logs.configure("info", "json", io.StringIO())
    logs.configure("info", "json", stream)

    logging.getLogger("uvicorn.error").info("once")

    assert len(lines(stream)) == 1
