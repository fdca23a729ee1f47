"""One pipeline for all log lines, Parley's own and those of its libraries.

An error that a library logs, such as an exception that nobody handled, is an
incident like our own.

The layers below ``app`` log with the standard library's ``logging``, as
libraries do; ``app`` and ``cli`` with ``structlog``.  A call below the
configured level costs next to nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from parley.incidents import FIELDS, Incident, count

REDACTED = "[redacted]"

_NEVER_LOGGED = frozenset({"token", "authorization", "secret", "password", "message_text", "auth"})
_DEEPEST = 4


def configure(
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["auto", "console", "json"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Send all log lines of this process to ``stream`` (standard error by default).

    ``auto`` means readable lines with colours on a terminal and one JSON object
    per line elsewhere.  Calling it again replaces what was configured, except
    for structlog loggers that have been used.
    """
    out = sys.stderr if stream is None else stream
    terminal = out.isatty()
    console = format == "console" or (format == "auto" and terminal)
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    rendering = _console(terminal) if console else _json()
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _LineWriter(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.addFilter(_count_faults)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_add_fields, *shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    _route_stdlib(handler, level.upper())


def _count_faults(record: logging.LogRecord) -> bool:
    """Of the libraries; ours have been counted."""
    if record.levelno >= logging.ERROR and not hasattr(record, FIELDS):
        count(Incident.FAULT)
        kind, _, _ = record.exc_info or (None, None, None)
        reason = kind.__name__ if kind else record.name
        setattr(record, FIELDS, {"kind": Incident.FAULT.value, "reason": reason})
    return True


def _add_fields(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Those that :mod:`parley.incidents` gave the record of the standard library's logger."""
    event.update(getattr(event["_record"], FIELDS, {}))
    return event


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace the values of keys that may hold a secret or what people wrote to each other."""
    for key, value in event.items():
        event[key] = _shown(key, value, _DEEPEST)
    return event


def _redacted(fields: Mapping[Any, Any], depth: int) -> object:
    if depth == 0:
        return "..."
    return {key: _shown(key, value, depth) for key, value in fields.items()}


def _shown(key: object, value: object, depth: int) -> object:
    if _is_private(key):
        return REDACTED
    return _redacted(value, depth - 1) if isinstance(value, Mapping) else value


def _is_private(key: object) -> bool:
    if not isinstance(key, str):
        return False
    name = key.lower()
    return name in _NEVER_LOGGED or name.endswith(("_token", "_secret", "_password", "_secret_key"))


def _console(terminal: bool) -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=terminal and not os.environ.get("NO_COLOR"),
            # Quoted, what a client sent cannot move the cursor or forge a line.
            repr_native_str=True,
            # Not the default, which prints local variables: a token may be among them.
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _json() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _to_json(event: EventDict, **_: object) -> str:
    # What people look for first comes first.
    first = {key: event.pop(key, None) for key in ("timestamp", "level", "event")}
    return msgspec.json.encode({**first, **event}, enc_hook=repr).decode()


def _route_stdlib(handler: logging.Handler, level: str) -> None:
    root = logging.getLogger()
    handler.setLevel(level)
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    # Every request of every long-polling client would be a line; metrics count them.
    access = logging.getLogger("uvicorn.access")
    access.handlers = [logging.NullHandler()]
    access.propagate = False
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.captureWarnings(True)


class _LineWriter:
    """Writes whole lines, and is silent when nobody can read them any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            # One write per line, so that lines of several threads do not mix.
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The terminal or the pipe is gone. That must not stop the server.
            pass

    debug = info = warning = error = critical = exception = msg
