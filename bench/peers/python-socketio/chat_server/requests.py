"""Checks what clients send.  Each function returns the value, or raises ChatError."""

from __future__ import annotations

import re
from typing import Any

from .errors import bad_request

_UUID = re.compile(r"[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}", re.IGNORECASE | re.ASCII)
_MESSAGE_MAX = 10_000


def uuid(data: Any, key: str) -> str:
    """A UUID in its canonical lower case."""
    value = _value(data, key)
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise bad_request(f"{key} must be a UUID")
    return value.lower()


def text(data: Any, key: str) -> str:
    """Text that PostgreSQL can hold."""
    value = _value(data, key)
    if not isinstance(value, str) or not value:
        raise bad_request(f"{key} must be a non-empty string")
    if len(value) > _MESSAGE_MAX:
        raise bad_request(f"{key} must have at most {_MESSAGE_MAX} characters")
    if "\0" in value:
        raise bad_request(f"{key} must not contain NUL")
    return value


def _value(data: Any, key: str) -> Any:
    return data.get(key) if isinstance(data, dict) else None
