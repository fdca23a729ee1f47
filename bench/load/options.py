"""What may be said on the command line."""

from __future__ import annotations

import argparse
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from bench.processes import ProcessGroup

from .report import GENERATOR

_DESCRIPTION: Final = """\
Puts a chat server on this machine under load, and prints what happened as one line of JSON.
Its fields are described in bench/load/report.py.  The exit status is 1 if anything was lost,
doubled, reordered or an error; no report is printed if it could not begin."""


@dataclass(frozen=True, slots=True)
class Site:
    """The servers, and how to connect to them."""

    urls: tuple[str, ...]
    """Without a path or a slash at the end."""
    secret: str
    seed: str
    """Decides on the users' ids."""
    connecting: int
    """At most so many connections are being opened at a time."""
    groups: Mapping[str, ProcessGroup]
    """Whose CPU time and memory is told, by name."""


@dataclass(frozen=True, slots=True)
class ChatOptions:
    site: Site
    pairs: int
    window: int
    rate: float | None
    """Messages per second in all; None for the closed loop, with ``window``."""
    receipts: bool
    acknowledgements: bool
    size: int
    warmup: float
    seconds: float
    lost_after: float
    """Seconds after which a message that has not come is lost; in the end, all that has not come
    after so many seconds in which nothing came."""
    drain: float
    """Seconds at most that the end may take."""


@dataclass(frozen=True, slots=True)
class ConnectsOptions:
    site: Site
    connects: int
    transport: str
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class IdleOptions:
    site: Site
    connections: int
    settle: float
    """Seconds in which the server may finish what connecting has begun."""
    seconds: float


Options: TypeAlias = ChatOptions | ConnectsOptions | IdleOptions


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Options from ``arguments``, or from the command line.  Exits if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    modes = parser.add_subparsers(dest="mode", required=True)
    _add_chat(modes.add_parser("chat", help="messages from senders to receivers"))
    _add_connects(modes.add_parser("connects", help="connections that are opened and closed"))
    _add_idle(modes.add_parser("idle", help="connections that are opened and held"))
    given = parser.parse_args(arguments)
    if not given.secret:
        parser.error("--secret is missing, and so is JWT_SECRET_KEY")
    site = Site(tuple(given.url), given.secret, given.seed, given.connecting, _groups(given.pid))
    match given.mode:
        case "chat":
            return ChatOptions(
                site,
                pairs=given.pairs,
                window=given.window,
                rate=given.rate,
                receipts=given.receipts,
                acknowledgements=given.acknowledgements,
                size=given.size,
                warmup=given.warmup,
                seconds=given.seconds,
                lost_after=given.lost_after,
                drain=given.drain,
            )
        case "connects":
            return ConnectsOptions(site, given.connects, given.transport, given.keep_alive)
        case _:
            return IdleOptions(site, given.connections, given.settle, given.seconds)


def _add_chat(parser: argparse.ArgumentParser) -> None:
    _add_site(parser)
    parser.add_argument("--pairs", type=_count, default=50, help="of a sender and a receiver (50)")
    loop = parser.add_mutually_exclusive_group()
    loop.add_argument(
        "--window", type=_count, default=4, help="undelivered messages of each sender (4)"
    )
    loop.add_argument(
        "--rate", type=_positive, help="messages per second in all, whatever the server does"
    )
    parser.add_argument(
        "--receipts", action="store_true", help="receivers answer with 'receive message'"
    )
    parser.add_argument(
        "--acknowledgements", action="store_true", help="senders ask for acknowledgements"
    )
    parser.add_argument("--size", type=_count, default=100, help="characters of a message (100)")
    parser.add_argument("--warmup", type=_positive, default=1.0, help="seconds (1)")
    parser.add_argument("--seconds", type=_positive, default=10.0, help="the window measured (10)")
    parser.add_argument(
        "--lost-after",
        type=_positive,
        default=5.0,
        help="seconds after which a message is lost, and in the end, seconds without any (5)",
    )
    parser.add_argument(
        "--drain",
        type=_positive,
        default=30.0,
        help="seconds at most in the end for what is still on its way (30)",
    )


def _add_connects(parser: argparse.ArgumentParser) -> None:
    _add_site(parser)
    parser.add_argument("--connects", type=_count, default=1000, help="how many (1000)")
    parser.add_argument(
        "--transport",
        choices=("websocket", "upgrade"),
        default="websocket",
        help="'upgrade' does what the official client does by default",
    )
    parser.add_argument(
        "--keep-alive",
        action="store_true",
        help="reuse HTTP connections as browsers do; the client on Node.js doesn't",
    )


def _add_idle(parser: argparse.ArgumentParser) -> None:
    _add_site(parser)
    parser.add_argument("--connections", type=_count, default=1000, help="how many (1000)")
    parser.add_argument(
        "--settle", type=_positive, default=2.0, help="seconds between opening and idleness (2)"
    )
    parser.add_argument("--seconds", type=_positive, default=5.0, help="of idleness measured (5)")


def _add_site(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url",
        action="append",
        required=True,
        type=_loopback,
        help="of a server on this machine; if there are several, the sender of pair i uses the "
        "i-th and its receiver the one after it",
    )
    parser.add_argument(
        "--secret",
        default=os.environ.get("JWT_SECRET_KEY"),
        help="what tokens are signed with (the variable JWT_SECRET_KEY)",
    )
    parser.add_argument(
        "--pid",
        action="append",
        default=[],
        type=_named_pid,
        metavar="GROUP=PID",
        help="a process whose CPU time and memory is told, with all its descendants'; several of "
        "one group are added up",
    )
    parser.add_argument(
        "--connecting", type=_count, default=64, help="connections opened at a time (64)"
    )
    parser.add_argument("--seed", default=uuid.uuid4().hex, help="fixes the users' ids (random)")


def _groups(pids: list[tuple[str, int]]) -> dict[str, ProcessGroup]:
    names = dict.fromkeys(name for name, _ in pids)
    named = {name: ProcessGroup(pid for its, pid in pids if its == name) for name in names}
    return {**named, GENERATOR: ProcessGroup([os.getpid()])}


def _loopback(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "http" or parts.hostname != "127.0.0.1" or parts.port is None:
        raise argparse.ArgumentTypeError(f"not of the form http://127.0.0.1:PORT: {text}")
    return f"http://{parts.netloc}"


def _named_pid(text: str) -> tuple[str, int]:
    name, _, pid = text.rpartition("=")
    if not name or not pid.isdecimal() or name == GENERATOR:
        raise argparse.ArgumentTypeError(f"not of the form GROUP=PID: {text}")
    return name, int(pid)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a positive number: {text}")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"not a positive number: {text}")
    return value
