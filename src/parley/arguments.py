"""What can be typed behind ``parley``, and its help."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Final, TypeAlias
from uuid import UUID

from parley import __version__
from parley.devmode import DEFAULT_DATA
from parley.settings_loading import settings_table
from parley.tokens import parse_ttl

_URL: Final = "http://127.0.0.1:3000"
_LONGEST_REASON: Final = 200
_EXAMPLES: Final = """\
examples:
  parley dev
  JWT_SECRET_KEY=a-long-random-text DATABASE_TYPE=sqlite DATABASE_DB=parley.db parley start
  parley token --user 3f0c6a3e-94c2-4d6b-9f1e-0d8a4a1f6f5b --ttl 1h
  echo hi | parley chat --as alice --to bob
"""

# argparse has no public name for what add_subparsers() returns.
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


def command_line() -> argparse.ArgumentParser:
    """The parser; what it makes of a command line names the ``command``, or None."""
    parser = argparse.ArgumentParser(
        prog="parley",
        description="A self-hosted chat server. Its clients speak Socket.IO and log in with the "
        "JWTs\nof your application.",
        epilog=f"{_needed_settings()}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"parley {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_dev(commands)
    _add_start(commands)
    _add_migrate(commands)
    _add_audit(commands)
    _add_who(commands)
    _add_kick(commands)
    _add_token(commands)
    _add_chat(commands)
    return parser


def _add_dev(commands: _Commands) -> None:
    dev = commands.add_parser(
        "dev",
        help="run it here and now: no settings needed, two users with tokens are ready",
        description="Run Parley on this machine. It makes what it needs in a data folder: a "
        "secret, two users and a SQLite file, and prints how to try it.",
    )
    _add_address(dev, "127.0.0.1")
    dev.add_argument(
        "--data",
        type=Path,
        default=DEFAULT_DATA,
        metavar="DIR",
        help="the data folder (default: .parley)",
    )
    _add_no_color(dev)
    dev.set_defaults(command="dev")


def _add_start(commands: _Commands) -> None:
    start = commands.add_parser(
        "start",
        help="run it with your settings",
        description="Run Parley with settings from the environment and from a file named .env.",
        epilog=_all_settings(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_address(start, "0.0.0.0")  # noqa: S104 - shown, not bound
    start.add_argument("--workers", metavar="N", help="processes that serve; wins over WORKERS")
    start.add_argument("--watch", action="store_true", help="restart when code or .env changes")
    start.add_argument(
        "--page",
        action="store_const",
        const="true",
        help="serve the web page too, a chat client at /; wins over PAGE",
    )
    start.set_defaults(command="start")


def _add_migrate(commands: _Commands) -> None:
    migrate = commands.add_parser(
        "migrate",
        help="bring the database up to date",
        description="Create or upgrade the tables that `parley start` needs, with the same "
        "settings. It does so itself, if its database user may.",
    )
    migrate.set_defaults(command="migrate")


def _add_audit(commands: _Commands) -> None:
    audit = commands.add_parser(
        "audit",
        help="check the database: inboxes without gaps, nothing lost, nothing twice",
        description="Check that the database holds what Parley promises, with the settings of "
        "`parley start`; it may be running. Changes nothing. The exit status is 0 when the "
        "database is sound, 1 if something was found, and 2 if it could not be looked at.",
    )
    audit.set_defaults(command="audit")


def _add_who(commands: _Commands) -> None:
    who = commands.add_parser(
        "who",
        help="list the users who are connected, and to which nodes",
        description="List the users who are connected to any node, as Redis knows it (about a "
        "second old): the user, and the node's name and address.",
    )
    who.add_argument("--user", type=_user_id, metavar="UUID", help="only this one")
    who.set_defaults(command="who")


def _add_kick(commands: _Commands) -> None:
    kick = commands.add_parser(
        "kick",
        help="disconnect a user, and refuse the tokens that user has",
        description="Disconnect a user from all nodes, and refuse the tokens that were issued "
        "until now, for JWT_REVOCATION_LIFETIME seconds. Those that are issued later are accepted.",
    )
    kick.add_argument("--user", type=_user_id, required=True, metavar="UUID", help="whom")
    kick.add_argument(
        "--reason", type=_reason, default="", metavar="TEXT", help="why, as the user is told"
    )
    kick.add_argument(
        "--forget", action="store_true", help="lift it: accept the user's earlier tokens again"
    )
    kick.set_defaults(command="kick")


def _add_token(commands: _Commands) -> None:
    token = commands.add_parser(
        "token",
        help="print a token for a user, to try things by hand",
        description="Print a JWT signed with JWT_SECRET_KEY or, where that is not set, with the "
        "secret that `parley dev` keeps in the working directory.",
    )
    token.add_argument("--user", type=_user_id, required=True, metavar="UUID", help="whose token")
    token.add_argument(
        "--ttl", type=_ttl, default="1d", help="how long it is valid: 3600, 15m, 1h, 30d (1d)"
    )
    token.add_argument(
        "--data", type=Path, metavar="DIR", help="sign with the secret of this data folder"
    )
    token.set_defaults(command="token")


def _add_chat(commands: _Commands) -> None:
    chat = commands.add_parser(
        "chat",
        help="chat in this terminal, at any Parley server",
        description="Chat in this terminal. USER is a ready user of `parley dev` (alice, bob) or a "
        "UUID. The token is signed as by `parley token`. What is piped in is sent line by line; "
        "the exit status is 0 when all lines were stored, and 1 if they were not.",
    )
    chat.add_argument("--as", dest="user", metavar="USER", help="who you are")
    chat.add_argument("--to", metavar="USER", help="whom you write to")
    chat.add_argument("--url", default=_URL, help=f"the server (default: {_URL})")
    chat.add_argument(
        "--token",
        help="a token of yours, instead of one that is signed here; - reads it from the standard "
        "input. Others on this machine may see what is typed here: rather set PARLEY_TOKEN",
    )
    chat.add_argument(
        "--data", type=Path, metavar="DIR", help="the data folder of `parley dev` (.parley)"
    )
    chat.add_argument(
        "--timeout",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="in which a line that is piped in must be stored (default: 10)",
    )
    _add_no_color(chat)
    chat.set_defaults(command="chat")


def _add_no_color(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--no-color", action="store_true", help="no colours; so does the variable NO_COLOR"
    )


def _add_address(command: argparse.ArgumentParser, host: str) -> None:
    command.add_argument("--host", help=f"address to listen on; wins over HOST (default: {host})")
    command.add_argument("--port", help="port to listen on; wins over PORT (default: 3000)")


def _user_id(text: str) -> UUID:
    """A user's id."""
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a UUID") from None


def _reason(text: str) -> str:
    """A line of text for people."""
    line = " ".join(text.split())
    if len(line) > _LONGEST_REASON or not line.isprintable():
        raise argparse.ArgumentTypeError(f"write one line, of {_LONGEST_REASON} characters at most")
    return line


def _ttl(text: str) -> int:
    """How long a token is valid, in seconds."""
    try:
        return parse_ttl(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    """How long to wait."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return number


def _needed_settings() -> str:
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


def _all_settings() -> str:
    """All settings, with their defaults."""
    lines = ["settings:"]
    for row in settings_table():
        note = f"needed {row.needed}" if row.needed != "never" else f"default: {row.default}"
        if note == "default: ":
            note = "optional"
        lines.append(f"  {row.name} ({note})\n      {row.description}")
    return "\n".join(lines)
