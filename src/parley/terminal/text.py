"""Text for a terminal: colours where they are wanted, and foreign text made harmless."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Final, Literal, TextIO, TypeAlias

Style: TypeAlias = Literal["bold", "dim", "underline", "red", "green", "yellow", "cyan"]

_CODES: Final[dict[Style, int]] = {
    "bold": 1,
    "dim": 2,
    "underline": 4,
    "red": 31,
    "green": 32,
    "yellow": 33,
    "cyan": 36,
}
# Control characters but the newline, line separators, what turns the direction of a line around
# (and could make it say something else), and halves of surrogate pairs.
_HARMFUL: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PICTURES: Final = 0x2400
"""Where Unicode has pictures of the first 32 control characters, in their order."""


class Paint:
    """Puts text into colours, or leaves it as it is."""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, text: str, *styles: Style) -> str:
        """``text`` in these styles, which end with it."""
        if not (self._colours and styles):
            return text
        codes = ";".join(str(_CODES[style]) for style in styles)
        return f"\x1b[{codes}m{text}\x1b[0m"


def is_terminal(stream: TextIO | None) -> bool:
    """Whether ``stream`` is open, and somebody sits before it."""
    return stream is not None and stream.isatty()


def wants_colours(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal whose owner has not declined colours (``NO_COLOR``)."""
    declined = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not declined


def take_any_text(stream: TextIO) -> None:
    """Have ``stream`` show a question mark for what its encoding has no form for."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")


def say(line: str, stream: TextIO | None) -> None:
    """Print a line at once; that nobody reads, or the disk is full, is no error."""
    if stream is not None:  # print() would take the standard output then
        try:
            print(line, file=stream, flush=True)
        except OSError:
            silence(stream)


def silence(stream: TextIO) -> None:
    """Lose what is still written to ``stream``, which would be tried again when Python ends."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def harmless(text: str) -> str:
    """``text`` with stand-ins for whatever would move the cursor or forge a line.

    Newlines stay.
    """
    return _HARMFUL.sub(_stand_in, text)


def one_line(text: str, limit: int) -> str:
    """``text`` as one harmless line of at most ``limit`` characters."""
    line = harmless(" ".join(text[: 2 * limit].split()))
    return line if len(line) <= limit and len(text) <= 2 * limit else f"{line[: limit - 1]}…"


def _stand_in(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\t":
        return " "
    return chr(_PICTURES + ord(character)) if character < " " else "\N{REPLACEMENT CHARACTER}"
