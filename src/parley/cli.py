"""The command ``parley``: reads its arguments and the environment, and starts what is asked."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import structlog

from parley import __version__, devmode, kicking, logs, signing, watch
from parley.arguments import Commands as _Commands
from parley.arguments import all_settings, needed_settings, seconds, ttl, user_id
from parley.errors import BackendBroken, ListenError, SettingsError
from parley.listen import bind, url_of
from parley.model import UserId
from parley.settings import Settings
from parley.settings_loading import load_settings
from parley.supervisor import Supervisor
from parley.terminal.errors import ClientError
from parley.terminal.text import Paint, take_any_text, wants_colours

if TYPE_CHECKING:
    from parley.app import Extras

log = structlog.get_logger()

OK = 0
NOT_ALL_STORED = 1
CANNOT_START = 2
INTERRUPTED = 128 + signal.SIGINT

_URL = "http://127.0.0.1:3000"
_SHORT_SECRET = 32
_PATIENCE = 10.0
"""Seconds that a worker has to stop, beyond its SHUTDOWN_GRACE."""
_EXAMPLES = """\
examples:
  parley dev
  JWT_SECRET_KEY=a-long-random-text DATABASE_TYPE=sqlite DATABASE_DB=parley.db parley start
  parley token --user 3f0c6a3e-94c2-4d6b-9f1e-0d8a4a1f6f5b --ttl 1h
  echo hi | parley chat --as alice --to bob
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` and return its exit status.

    0: done, or stopped by SIGINT or SIGTERM.  1: a message of `parley chat` was
    not stored.  2: it could not start, and one message on standard error says
    why and what to do.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if getattr(arguments, "no_color", False):
        os.environ["NO_COLOR"] = "1"
    command: Callable[[argparse.Namespace], int] | None = arguments.command
    if command is None:
        parser.print_help(sys.stderr)
        return CANNOT_START
    try:
        return command(arguments)
    except (
        SettingsError,
        BackendBroken,
        ListenError,
        devmode.DevDataError,
        ClientError,
    ) as error:
        print(f"parley: {error}", file=sys.stderr)
        return CANNOT_START
    except KeyboardInterrupt:
        return INTERRUPTED


def _start(arguments: argparse.Namespace) -> int:
    overrides = _overrides(arguments)
    settings = load_settings({**os.environ, **overrides})
    logs.configure(settings.log_level, settings.log_format)
    _warn_of_short_secrets(settings)
    with bind(settings.host, settings.port) as sock:
        if not arguments.watch:
            return _serve(settings, overrides, sock)
        # The parent keeps the socket, so that clients wait through a restart.
        package = Path(__file__).parent
        watch.run(_serve_anew, (overrides, sock), package=package, dotenv=Path(".env"))
    return OK


def _warn_of_short_secrets(settings: Settings) -> None:
    named = {
        "JWT_SECRET_KEY": settings.jwt_secret_key,
        "JWT_PREVIOUS_SECRET_KEY": settings.jwt_previous_secret_key,
    }
    for name, secret in named.items():
        if 0 < len(secret.encode()) < _SHORT_SECRET:
            log.warning("%s is short", name, advice="32 random characters cannot be guessed")


def _serve(settings: Settings, overrides: dict[str, str], sock: socket.socket) -> int:
    """Serve in this process or, if there are to be several, in workers of it."""

    def ready() -> None:
        url = url_of(sock, tls=bool(settings.tls_cert_file))
        log.info("ready", url=url, workers=settings.workers, version=__version__)

    if settings.workers == 1:
        return _serve_here(settings, sock, ready)
    # Late, as in _serve_here.
    from parley.backends import check_backends  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _stop_waiting)  # until the supervisor handles it
    asyncio.run(check_backends(settings))  # once, and with one message, instead of in each
    arguments = (overrides, sock, secrets.token_hex(8))
    patience = settings.shutdown_grace + _PATIENCE
    return Supervisor(_work, arguments, settings.workers, patience=patience).run(ready)


def _stop_waiting(number: int, frame: FrameType | None) -> None:
    raise SystemExit(OK)


def _work(
    overrides: dict[str, str], sock: socket.socket, group: str, number: int, ready: Event
) -> None:
    """What a worker does."""
    _serve_again(overrides, lambda settings: _serve_here(settings, sock, ready.set, group, number))


def _serve_anew(overrides: dict[str, str], sock: socket.socket) -> None:
    """What ``--watch`` does, in a new process after each change."""
    _serve_again(overrides, lambda settings: _serve(settings, overrides, sock))


def _serve_again(overrides: dict[str, str], serve: Callable[[Settings], int]) -> None:
    """Serve in a new process, which reads the settings itself: .env may have changed."""
    try:
        settings = load_settings({**os.environ, **overrides})
        logs.configure(settings.log_level, settings.log_format)
        status = serve(settings)
    except (SettingsError, BackendBroken, ListenError) as error:
        print(f"parley: {error}", file=sys.stderr)
        status = CANNOT_START
    sys.exit(status)


def _migrate(arguments: argparse.Namespace) -> int:
    settings = load_settings(os.environ)
    logs.configure(settings.log_level, settings.log_format)
    from parley.backends import migrate  # noqa: PLC0415 - late, as in _serve_here

    before, after = asyncio.run(migrate(settings))
    if before == after:
        print(f"The database is up to date: its schema has version {after}.")
    else:
        print(f"The database was brought from version {before} to version {after}.")
    return OK


def _who(arguments: argparse.Namespace) -> int:
    settings = load_settings(os.environ)
    if settings.database_type == "sqlite":
        raise SettingsError("`parley who` asks Redis, and with DATABASE_TYPE=sqlite there is none.")
    from parley.shared_backends import connected_users  # noqa: PLC0415 - late, as in _serve_here

    user = None if arguments.user is None else UserId(str(arguments.user))
    connected = asyncio.run(connected_users(settings, user))
    for row in connected:
        print(f"{row.user}  {row.node}  {row.address}:{row.port}")
    users = len({row.user for row in connected})
    print(f"{users} connected" if user is None or users else "not connected", file=sys.stderr)
    return OK


def _dev(arguments: argparse.Namespace) -> int:
    data = devmode.open_data(arguments.data)
    settings = devmode.dev_settings(data, os.environ, _overrides(arguments))
    logs.configure(settings.log_level, settings.log_format)
    from parley.app import Extras  # noqa: PLC0415 - late, as in _serve_here
    from parley.devlines import telling  # noqa: PLC0415

    extras = Extras(data.ready_users)
    with bind(settings.host, settings.port) as sock:
        url = url_of(sock, tls=bool(settings.tls_cert_file))
        if sys.stdout.isatty():
            take_any_text(sys.stdout)
            paint = Paint(wants_colours(sys.stdout))
            banner = devmode.short_banner(data, url, paint)
            extras = extras._replace(make_gateway=telling(data.users.by_id(), paint))
        else:
            banner = devmode.banner(data, url)
        return _serve_here(settings, sock, lambda: _print(banner), extras=extras)


def _chat(arguments: argparse.Namespace) -> int:
    # Late, as in _serve_here.
    from parley.chatting import Request, chat  # noqa: PLC0415

    request = Request(
        user=arguments.user,
        to=arguments.to,
        url=arguments.url,
        token=arguments.token,
        data=arguments.data,
        timeout=arguments.timeout,
    )
    return OK if chat(request, os.environ) else NOT_ALL_STORED


def _token(arguments: argparse.Namespace) -> int:
    secret = signing.find_secret(os.environ, arguments.data)
    if secret.folder is not None:
        print(f"Signed with the secret of `parley dev` in {secret.folder}.", file=sys.stderr)
    print(secret.signer.token(arguments.user, arguments.ttl))
    return OK


def _serve_here(
    settings: Settings,
    sock: socket.socket,
    on_ready: Callable[[], None],
    group: str = "",
    number: int = 1,
    extras: Extras | None = None,
) -> int:
    # Late, so that `parley --help` and `parley token` do not wait for all of it.
    from parley.app import NO_EXTRAS  # noqa: PLC0415
    from parley.backends import Place  # noqa: PLC0415
    from parley.serving import serve  # noqa: PLC0415

    # A signal that the server has answered by stopping may be raised again behind it.
    with contextlib.suppress(KeyboardInterrupt):
        place = Place(number, group)
        serve(settings, sock, on_ready=on_ready, place=place, extras=extras or NO_EXTRAS)
    return OK


def _print(text: str) -> None:
    # Nobody may be reading; that is no reason not to serve.
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _overrides(arguments: argparse.Namespace) -> dict[str, str]:
    """The options that stand for a variable, as variables: those are checked in one place."""
    names = ("host", "port", "workers", "page")
    options = {name: getattr(arguments, name, None) for name in names}
    return {name.upper(): value for name, value in options.items() if value is not None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parley",
        description="A self-hosted chat server. Its clients speak Socket.IO and log in with the "
        "JWTs\nof your application.",
        epilog=f"{needed_settings()}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"parley {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_dev(commands)
    _add_start(commands)
    _add_migrate(commands)
    _add_who(commands)
    kicking.add_command(commands)
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
        default=devmode.DEFAULT_DATA,
        metavar="DIR",
        help="the data folder (default: .parley)",
    )
    _add_no_color(dev)
    dev.set_defaults(command=_dev)


def _add_start(commands: _Commands) -> None:
    start = commands.add_parser(
        "start",
        help="run it with your settings",
        description="Run Parley with settings from the environment and from a file named .env.",
        epilog=all_settings(),
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
    start.set_defaults(command=_start)


def _add_migrate(commands: _Commands) -> None:
    migrate = commands.add_parser(
        "migrate",
        help="bring the database up to date",
        description="Create or upgrade the tables that `parley start` needs, with the same "
        "settings. It does so itself, if its database user may.",
    )
    migrate.set_defaults(command=_migrate)


def _add_who(commands: _Commands) -> None:
    who = commands.add_parser(
        "who",
        help="list the users who are connected, and to which nodes",
        description="List the users who are connected to any node, as Redis knows it (about a "
        "second old): the user, and the node's name and address.",
    )
    who.add_argument("--user", type=user_id, metavar="UUID", help="only this one")
    who.set_defaults(command=_who)


def _add_token(commands: _Commands) -> None:
    token = commands.add_parser(
        "token",
        help="print a token for a user, to try things by hand",
        description="Print a JWT signed with JWT_SECRET_KEY or, where that is not set, with the "
        "secret that `parley dev` keeps in the working directory.",
    )
    token.add_argument("--user", type=user_id, required=True, metavar="UUID", help="whose token")
    token.add_argument(
        "--ttl", type=ttl, default="1d", help="how long it is valid: 3600, 15m, 1h, 30d (1d)"
    )
    token.add_argument(
        "--data", type=Path, metavar="DIR", help="sign with the secret of this data folder"
    )
    token.set_defaults(command=_token)


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
    chat.add_argument("--token", help="a token of yours, instead of one that is signed here")
    chat.add_argument(
        "--data", type=Path, metavar="DIR", help="the data folder of `parley dev` (.parley)"
    )
    chat.add_argument(
        "--timeout",
        type=seconds,
        default=10.0,
        metavar="SECONDS",
        help="in which a line that is piped in must be stored (default: 10)",
    )
    _add_no_color(chat)
    chat.set_defaults(command=_chat)


def _add_no_color(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--no-color", action="store_true", help="no colours; so does the variable NO_COLOR"
    )


def _add_address(command: argparse.ArgumentParser, host: str) -> None:
    command.add_argument("--host", help=f"address to listen on; wins over HOST (default: {host})")
    command.add_argument("--port", help="port to listen on; wins over PORT (default: 3000)")
