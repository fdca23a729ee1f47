"""``python -m bench.load``: one run, one line of JSON, one exit status."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import sys
from typing import Final, NoReturn

import uvloop

from . import chat, connects, idle
from .options import ChatOptions, ConnectsOptions, IdleOptions, Options, parse
from .report import AnyReport, encode

_SPARE: Final = 180
"""Seconds beyond what a run is meant to take."""
_SLOWEST: Final = 50
"""Connections per second; with fewer, a run is given up."""


def main() -> NoReturn:
    options = parse()
    # It ends by itself, whatever the server does: nobody handles SIGALRM.
    signal.alarm(_longest(options))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    gc.freeze()  # what is imported stays, and need not be looked through again and again
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(_run(options))
    except (chat.NotConnectedError, idle.HolderError) as error:
        sys.exit(f"The run could not begin, or not go on: {error}")
    print(encode(report))
    sys.exit(0 if report.flawless else 1)


async def _run(options: Options) -> AnyReport:
    match options:
        case ChatOptions():
            return await chat.run(options)
        case ConnectsOptions():
            return await connects.run(options)
        case IdleOptions():
            return await idle.run(options, _longest(options))


def _longest(options: Options) -> int:
    """Seconds after which a run is not worth waiting for."""
    match options:
        case ChatOptions(warmup=warmup, seconds=seconds, drain=drain, pairs=pairs):
            return int(_SPARE + warmup + seconds + drain + 2 * pairs / _SLOWEST)
        case ConnectsOptions(connects=count):
            return int(_SPARE + count / _SLOWEST)
        case IdleOptions(connections=count, seconds=seconds):
            return int(_SPARE + seconds + count / _SLOWEST)


if __name__ == "__main__":
    main()
