"""One of the processes that hold idle connections: ``python -m bench.load.holder``.

``idle.py`` starts several of them, because one process may not have enough file descriptors, and
one address not enough ports.  They speak in lines of JSON: an :class:`Order` comes in, an empty
line goes out when all is prepared, an empty line comes in to begin, a :class:`Holding` goes out
when all connections are open, and another one after the end of the input, which ends the process.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys

import msgspec
import uvloop

from .client import Client, open_clients
from .faults import Faults
from .users import make_users


class Order(msgspec.Struct, frozen=True):
    """What to open."""

    urls: tuple[str, ...]
    secret: str
    seed: str
    connections: int
    connecting: int
    """At most so many are being opened at a time."""
    source: str
    """The address to connect from."""
    longest: int
    """Seconds after which the process ends in any case."""


class Holding(msgspec.Struct, frozen=True):
    """How it went so far."""

    connections: int
    errors: int
    problems: dict[str, int]


async def hold(order: Order) -> None:
    """Open connections and hold them until the end of the input."""
    faults = Faults()
    users = make_users(order.secret, order.seed, order.connections)
    clients = [
        (Client(user, faults), order.urls[i % len(order.urls)]) for i, user in enumerate(users)
    ]
    _say("")
    sys.stdin.readline()
    opened = await open_clients(clients, faults, order.connecting, order.source)
    _say(_holding(opened, faults))
    await asyncio.to_thread(sys.stdin.read)
    _say(_holding(opened, faults))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C ends the input as well
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    order = msgspec.json.decode(sys.stdin.readline(), type=Order)
    signal.alarm(order.longest)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(hold(order))
        os._exit(0)  # thousands of connections need not be closed one by one


def _holding(opened: list[Client], faults: Faults) -> str:
    holding = Holding(len(opened), faults.total, faults.most_common())
    return msgspec.json.encode(holding).decode()


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
