"""The lines of a conversation, and how far each message of one's own has come.

A line on a terminal that has been printed stays as it is.  So a message of
one's own is first shown below those, where its mark can change, and is printed
when it has been received, or when something newer has to be printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from typing import Final, TypeAlias

import msgspec

from parley.model import Chat, ChatId, UserId
from parley.terminal.client import Draft
from parley.terminal.errors import Failure
from parley.terminal.text import harmless, one_line

Line: TypeAlias = list[tuple[str, str]]
"""Pieces of text, each with the name of its style."""

WAITING: Final = "…"
STORED: Final = "✓"
RECEIVED: Final = "✓✓"
FAILED: Final = "✗"

_OPEN_MAX: Final = 5
"""Lines whose marks can change, at a time."""
_REMEMBERED: Final = 1_000
"""Messages that were printed before they were received."""
_QUOTED: Final = 40
"""Characters of a message that is told of again."""
_INDENT: Final = " " * 11


class _Mine(msgspec.Struct, frozen=True):
    receiver: UserId
    message: str
    at: datetime


class Transcript:
    """What is to be printed, when something has happened."""

    def __init__(
        self, name: Callable[[UserId], str], now: Callable[[], datetime] = datetime.now
    ) -> None:
        """``name`` of a user; ``now`` in local time."""
        self._name = name
        self._now = now
        self._waiting: dict[ChatId, _Mine] = {}
        self._stored: dict[ChatId, _Mine] = {}
        self._printed: dict[ChatId, _Mine] = {}
        """As stored only."""

    def wrote(self, draft: Draft) -> None:
        """A message of one's own waits to be stored."""
        self._waiting[draft.id] = _Mine(draft.receiver, draft.message, self._now())

    def stored(self, draft: Draft) -> list[Line]:
        """It need not wait any longer."""
        self._stored[draft.id] = self._waiting.pop(draft.id)
        return self._print_stored(len(self._stored) - _OPEN_MAX)

    def failed(self, draft: Draft, failure: Failure) -> list[Line]:
        """It is not stored and will not be."""
        mine = self._waiting.pop(draft.id)
        why: Line = [("class:error", f"{_INDENT}not sent: {failure.message}")]
        return [*self._print_stored(), *self._lines_of(mine, FAILED), why]

    def delivered(self, chat_ids: Iterable[ChatId]) -> list[Line]:
        """Their receivers have these."""
        lines: list[Line] = []
        for chat_id in chat_ids:
            if chat_id in self._stored:
                lines += self._print_stored(list(self._stored).index(chat_id))
                lines += self._lines_of(self._stored.pop(chat_id), RECEIVED)
            elif chat_id in self._printed:
                mine = self._printed.pop(chat_id)
                quoted = one_line(mine.message, _QUOTED)
                note = f"{self._name(mine.receiver)} has received: {quoted}"
                lines.append([("", " " * 7), ("class:mark", RECEIVED), ("class:note", f"  {note}")])
        return lines

    def came(self, chat: Chat) -> list[Line]:
        """Somebody has written."""
        at = datetime.fromtimestamp(chat.createdAt / 1000)  # noqa: DTZ006 - local, as people read it
        sender = ("class:theirs", f"{self._name(chat.sender)}: ")
        return [*self._print_stored(), *_lines(self._time(at), "", sender, chat.message)]

    def rest(self) -> list[Line]:
        """Whatever isn't printed yet."""
        return [
            *self._print_stored(),
            *(line for mine in self._waiting.values() for line in self._lines_of(mine, WAITING)),
        ]

    def open(self) -> list[Line]:
        """The lines whose marks may change, as they are now."""
        lines = [self._short(mine, STORED) for mine in self._stored.values()]
        room = _OPEN_MAX - len(lines) + 1
        lines += [self._short(mine, WAITING) for mine in islice(self._waiting.values(), room)]
        if (more := len(self._waiting) - room) > 0:
            lines.append([("class:note", f"{_INDENT}and {more} more that wait")])
        return lines

    # -- within

    def _print_stored(self, count: int = _OPEN_MAX) -> list[Line]:
        """The oldest ones, for good."""
        lines: list[Line] = []
        for chat_id in list(self._stored)[: max(count, 0)]:
            mine = self._printed[chat_id] = self._stored.pop(chat_id)
            lines += self._lines_of(mine, STORED)
        while len(self._printed) > _REMEMBERED:
            del self._printed[next(iter(self._printed))]
        return lines

    def _lines_of(self, mine: _Mine, mark: str) -> list[Line]:
        receiver = ("class:mine", f"→ {self._name(mine.receiver)}: ")
        return _lines(self._time(mine.at), mark, receiver, mine.message)

    def _short(self, mine: _Mine, mark: str) -> Line:
        return self._lines_of(mine, mark)[0]

    def _time(self, at: datetime) -> str:
        return f"{at:%H:%M}" if at.date() == self._now().date() else f"{at:%Y-%m-%d %H:%M}"


def _lines(time: str, mark: str, who: tuple[str, str], message: str) -> list[Line]:
    first, *others = harmless(message.replace("\r\n", "\n")).split("\n")
    style = "class:error" if mark == FAILED else "class:mark"
    line: Line = [("class:time", f"{time}  "), (style, f"{mark:<2}"), ("", "  "), who, ("", first)]
    return [line, *([("", _INDENT + other)] for other in others)]
