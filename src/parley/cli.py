"""The command ``parley``: reads its arguments and the environment, and starts what is asked."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Event
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import structlog

from parley import __version__, devmode, kicking, logs, signing, watch
from parley.arguments import command_line
from parley.errors import BackendBroken, ListenError, SettingsError
from parley.listen import bind, url_of
from parley.model import UserId
from parley.settings import Settings
from parley.settings_loading import load_settings
from parley.supervisor import Supervisor
from parley.terminal.errors import ClientError
from parley.terminal.text import (
    Paint,
    is_terminal,
    say,
    silence,
    take_any_text,
    wants_colours,
)

if TYPE_CHECKING:
    from parley.app import Extras

log = structlog.get_logger()

OK = 0
NOT_ALL_STORED = NOT_SOUND = 1
CANNOT_START = 2
INTERRUPTED = 128 + signal.SIGINT

_SHORT_SECRET = 32
_PATIENCE = 10.0
"""Seconds that a worker has to stop, beyond its SHUTDOWN_GRACE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` and return its exit status.

    0: done, or stopped by SIGINT or SIGTERM.  1: a message of `parley chat` was
    not stored, or `parley audit` found something.  2: it could not start, and
    one message on standard error says why and what to do.  128 and a signal's
    number: it ended what is no server.
    """
    parser = command_line()
    arguments = parser.parse_args(argv)
    if getattr(arguments, "no_color", False):
        os.environ["NO_COLOR"] = "1"
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return CANNOT_START
    try:
        return _COMMANDS[arguments.command](arguments)
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
    _warn_of_open_origins(settings)
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


def _warn_of_open_origins(settings: Settings) -> None:
    for origin in sorted({"*", "null"} & set(settings.allowed_origins)):
        log.warning(
            "pages of any web site may connect from the browsers of their visitors",
            ALLOWED_ORIGINS=origin,
            advice="name the origins of your own pages",
        )


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
        _answer(f"The database is up to date: its schema has version {after}.")
    else:
        _answer(f"The database was brought from version {before} to version {after}.")
    return OK


def _audit(arguments: argparse.Namespace) -> int:
    settings = load_settings(os.environ)
    logs.configure(settings.log_level, settings.log_format)
    from parley.backends import audit  # noqa: PLC0415 - late, as in _serve_here

    return OK if asyncio.run(audit(settings, _answer)) else NOT_SOUND


def _who(arguments: argparse.Namespace) -> int:
    settings = load_settings(os.environ)
    if settings.database_type == "sqlite":
        raise SettingsError("`parley who` asks Redis, and with DATABASE_TYPE=sqlite there is none.")
    from parley.shared_backends import connected_users  # noqa: PLC0415 - late, as in _serve_here

    user = None if arguments.user is None else UserId(str(arguments.user))
    connected = asyncio.run(connected_users(settings, user))
    for row in connected:
        _answer(f"{row.user}  {row.node}  {row.address}:{row.port}")
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
        on_terminal = is_terminal(sys.stdout)
        if on_terminal:
            if settings.log_level == "info":
                # What clients are told is on the terminal in lines of its own.
                logging.getLogger("parley.gateway").setLevel(logging.WARNING)
            take_any_text(sys.stdout)
            paint = Paint(wants_colours(sys.stdout))
            banner = devmode.short_banner(data, url, paint)
            extras = extras._replace(make_gateway=telling(data.users.by_id(), paint))
        else:
            banner = devmode.banner(data, url)

        def ready() -> None:
            if on_terminal and hasattr(signal, "SIGHUP"):
                # A closed window must not leave a server behind that keeps the port.
                signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
            say(banner, sys.stdout)

        return _serve_here(settings, sock, ready, extras=extras)


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
    _answer(secret.signer.token(arguments.user, arguments.ttl))
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


def _answer(line: str) -> None:
    """Print what was asked for, as long as somebody reads."""
    try:
        print(line, flush=True)
    except BrokenPipeError:  # `head` has seen enough
        silence(sys.stdout)


def _overrides(arguments: argparse.Namespace) -> dict[str, str]:
    """The options that stand for a variable, as variables: those are checked in one place."""
    names = ("host", "port", "workers", "page")
    options = {name: getattr(arguments, name, None) for name in names}
    return {name.upper(): value for name, value in options.items() if value is not None}


_COMMANDS: Final[dict[str, Callable[[argparse.Namespace], int]]] = {
    "dev": _dev,
    "start": _start,
    "migrate": _migrate,
    "audit": _audit,
    "who": _who,
    "kick": kicking.kick,
    "token": _token,
    "chat": _chat,
}
