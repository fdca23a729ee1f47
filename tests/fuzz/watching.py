"""Notices what was raised where nobody waits for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(logging.Formatter().format(record))


@contextmanager
def no_errors(*loggers: str) -> Iterator[None]:
    """Fail if these loggers told of an error meanwhile; without names, if any did.

    An event loop tells ``asyncio`` of what its callbacks raise.
    """
    keeper = _Keeper()
    watched = [logging.getLogger(name) for name in loggers or ("",)]
    for logger in watched:
        logger.addHandler(keeper)
    try:
        yield
    finally:
        for logger in watched:
            logger.removeHandler(keeper)
    assert not keeper.told, "\n".join(keeper.told)
