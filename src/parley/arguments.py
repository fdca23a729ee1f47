"""What the command line's options may be, and the settings as its help shows them."""

from __future__ import annotations

import argparse
import math
from typing import Final, TypeAlias
from uuid import UUID

from parley.settings_loading import settings_table
from parley.tokens import parse_ttl

# argparse has no public name for what add_subparsers() returns.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001

_LONGEST_REASON: Final = 200


def user_id(text: str) -> UUID:
    """A user's id."""
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a UUID") from None


def reason(text: str) -> str:
    """A line of text for people."""
    line = " ".join(text.split())
    if len(line) > _LONGEST_REASON or not line.isprintable():
        raise argparse.ArgumentTypeError(f"write one line, of {_LONGEST_REASON} characters at most")
    return line


def ttl(text: str) -> int:
    """How long a token is valid, in seconds."""
    try:
        return parse_ttl(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seconds(text: str) -> float:
    """How long to wait."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return number


def needed_settings() -> str:
    """The settings that a newcomer must know of."""
    rows = [row for row in settings_table() if row.needed == "always"]
    postgres = [row.name for row in settings_table() if row.needed == "with postgres"]
    return "\n".join(
        [
            "`parley start` needs these, in the environment or in a file named .env:",
            *(f"  {row.name:<15} {row.description}" for row in rows),
            "with DATABASE_TYPE=postgres also:",
            *(f"  {', '.join(postgres[i : i + 4])}" for i in range(0, len(postgres), 4)),
            "All others have defaults: parley start --help",
        ]
    )


def all_settings() -> str:
    """All settings, with their defaults."""
    lines = ["settings:"]
    for row in settings_table():
        note = f"needed {row.needed}" if row.needed != "never" else f"default: {row.default}"
        if note == "default: ":
            note = "optional"
        lines.append(f"  {row.name} ({note})\n      {row.description}")
    return "\n".join(lines)
