"""Connections that the tests hold themselves."""

from __future__ import annotations

import asyncio
from contextlib import suppress


def abort(writer: asyncio.StreamWriter) -> None:
    """Reset the connection, if it has not ended."""
    # asyncio's transport fails at this if it was lost after it had written its last bytes.
    with suppress(AttributeError):
        writer.transport.abort()
