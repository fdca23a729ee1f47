"""``parley chat``: from what was typed to a client that runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from getpass import getpass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from parley import devmode, signing
from parley.model import UserId
from parley.terminal.client import Client
from parley.terminal.errors import ClientError, Lost, Refused
from parley.terminal.people import People
from parley.terminal.pipe import Pipe
from parley.terminal.text import is_terminal, take_any_text

_TTL: Final = 86_400
"""Seconds that a token is valid; every connection gets a new one."""
TOKEN_VARIABLE: Final = "PARLEY_TOKEN"
_LONGEST_TOKEN: Final = 65_536
"""Bytes; no server takes one as long."""


class Request(msgspec.Struct, frozen=True):
    """What was typed."""

    user: str | None
    """Who chats: the name of a ready user, or a UUID."""
    to: str | None
    url: str
    token: str | None
    """``-``: it comes on the standard input.  Without one, it is signed here."""
    data: Path | None
    """The data folder of `parley dev`."""
    timeout: float
    """Seconds that a message from a pipe may take."""


def chat(request: Request, environ: Mapping[str, str]) -> bool:
    """Chat until the end of the input; False if something could not be stored.

    Raises:
        ClientError, SettingsError, DevDataError: it could not begin, or was refused.
    """
    names = _ready_users(request.data)
    people = People(names)
    receiver = None if request.to is None else people.find(request.to)
    token = _token_of(request, people, environ)
    take_any_text(sys.stdout)
    try:
        if is_terminal(sys.stdin) and is_terminal(sys.stdout):
            return _on_screen(request, people, receiver, token)
        return _from_pipe(request, receiver, token)
    except Lost as lost:
        raise ClientError(
            f"No connection to {request.url}: {lost}. Start a server there (`parley dev`), or name "
            "another with --url."
        ) from lost
    except Refused as refused:
        raise ClientError(
            f"{request.url} refuses: {refused}. Give a token of that server's users in "
            f"{TOKEN_VARIABLE}, or set JWT_SECRET_KEY (or --data) to what it signs with."
        ) from refused


def _on_screen(
    request: Request, people: People, receiver: UserId | None, token: Callable[[], str]
) -> bool:
    # Late: whoever pipes need not wait for it.
    from parley.terminal.screen import Screen  # noqa: PLC0415

    if receiver is not None:
        people.meet(receiver)
    who = request.user or "you"
    screen = Screen(people, f"{who} at {request.url}", receiver)
    try:
        return asyncio.run(_until_sigterm(screen.chat(Client(request.url, token, screen))))
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None


async def _until_sigterm(work: Coroutine[Any, Any, bool]) -> bool:
    """Do the work, or cancel it at SIGTERM, so that the terminal becomes as it was."""
    loop, working = asyncio.get_running_loop(), asyncio.ensure_future(work)
    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(working.cancel))
    return await working


def _from_pipe(request: Request, receiver: UserId | None, token: Callable[[], str]) -> bool:
    if receiver is None:
        raise ClientError("Say whom the lines are for: --to USER.")
    if sys.stdin is None:
        raise ClientError("The standard input is closed: pipe in the lines that are to be sent.")
    pipe = Pipe(timeout=request.timeout)
    client = Client(request.url, token, pipe, reads=False)
    # Not sys.stdin: a thread that waits for a line must not hold its lock when Python ends.
    lines = open(sys.stdin.fileno(), encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    return asyncio.run(pipe.send(client, receiver, lines))


def _ready_users(data: Path | None) -> dict[str, UserId]:
    users = devmode.find_users(data or devmode.DEFAULT_DATA)
    return {} if users is None else {name: user for user, name in users.by_id().items()}


def _token_of(request: Request, people: People, environ: Mapping[str, str]) -> Callable[[], str]:
    """What makes a token for each connection."""
    if request.user is None:
        given = _given_token(request, environ)
        return lambda: given
    if request.token is not None:
        raise ClientError("Give --as or --token, not both: a token says who you are.")
    user = UUID(people.find(request.user))
    # A ready user is one of the data folder's server, whatever else is configured here.
    ready = request.user.lower() in people.names
    data = request.data or (devmode.DEFAULT_DATA if ready else None)
    signer = signing.find_secret(environ, data).signer
    return lambda: signer.token(user, _TTL)


def _given_token(request: Request, environ: Mapping[str, str]) -> str:
    token = request.token or environ.get(TOKEN_VARIABLE)
    if not token:
        raise ClientError(
            f"Say who you are: --as USER, or a token in the variable {TOKEN_VARIABLE}, or --token "
            "- and the token on the standard input."
        )
    if token != "-":
        return token
    if sys.stdin is None:
        raise ClientError("The standard input is closed: --token - reads the token there.")
    token = getpass("Token: ") if is_terminal(sys.stdin) else _first_line(sys.stdin.fileno())
    if not token.strip():
        raise ClientError("No token came on the standard input: --token - reads its first line.")
    return token.strip()


def _first_line(pipe: int) -> str:
    """The first line, and not a byte more: what follows are messages."""
    line = bytearray()
    while len(line) < _LONGEST_TOKEN and (byte := os.read(pipe, 1)) not in (b"", b"\n"):
        line += byte
    return line.decode("utf-8", "replace")
