"""Messages from senders to their receivers, in a closed or an open loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from .client import Client, open_clients
from .faults import Faults
from .options import ChatOptions
from .pair import Pair, Tally, Traffic
from .report import ChatReport, kept_up
from .usage import Window, count_ended, memory
from .users import make_users

_TICK: Final = 0.002
"""Seconds between two looks at what the schedule wants sent."""
_LOOK: Final = 1.0
"""Seconds between two looks for what is lost."""
_DRAIN_LOOK: Final = 0.05
"""Seconds between two looks for what is still on its way in the end."""
_SETTLE: Final = 0.25
"""Seconds in which a repeated message would come after the last one."""


class NotConnectedError(Exception):
    """Some clients could not connect, so that there is nothing to measure."""


async def run(options: ChatOptions) -> ChatReport:
    """One run.  Raises NotConnectedError."""
    faults = Faults()
    clients = await _connect(options, faults)
    try:
        return await _measure(options, clients, faults)
    finally:
        await _abort(clients)


async def _measure(options: ChatOptions, clients: Sequence[Client], faults: Faults) -> ChatReport:
    groups, tally = options.site.groups, Tally(faults)
    pairs = _make_pairs(clients, options, tally)
    end = time.monotonic() + options.warmup + options.seconds
    sending = _start_sending(pairs, options, end)
    await asyncio.sleep(options.warmup)
    window = Window(groups)
    sent, tally.measuring = tally.sent, True
    await _watch(pairs, end, options)
    tally.measuring, sent = False, tally.sent - sent
    window.close()
    await _finish(pairs, sending, options)
    # Nobody can tell what an overloaded server has lost from what it has yet to deliver.
    overloaded = sending is not None and not kept_up(sent, tally.delivered)
    for pair in pairs:
        pair.end(overloaded=overloaded)
    count_ended(groups, faults)
    return ChatReport(
        connections=len(clients),
        errors=faults.total,
        problems=faults.most_common(),
        usage=window.usage(tally.delivered),
        memory_bytes=memory(groups),
        seconds=round(window.seconds, 3),
        sent=sent,
        sent_in_all=tally.sent,
        delivered=tally.delivered,
        delivered_per_s=round(tally.delivered / window.seconds, 1),
        acknowledged=tally.acknowledged,
        latency=tally.latencies.latency(),
        undelivered=tally.undelivered,
        lost=tally.lost,
        late=tally.late,
        duplicated=tally.duplicated,
        reordered=tally.reordered,
        unacknowledged=tally.unacknowledged,
    )


async def _connect(options: ChatOptions, faults: Faults) -> list[Client]:
    """The clients: the sender of pair 0, its receiver, the sender of pair 1, and so on."""
    site = options.site
    users = make_users(site.secret, site.seed, 2 * options.pairs)
    clients = [
        (Client(user, faults), site.urls[(i // 2 + i % 2) % len(site.urls)])
        for i, user in enumerate(users)
    ]
    opened = await open_clients(clients, faults, site.connecting)
    if len(opened) < len(clients):
        await _abort(opened)
        raise NotConnectedError(faults.most_common())
    return opened


async def _abort(clients: Sequence[Client]) -> None:
    await asyncio.gather(*(client.abort() for client in clients))


def _make_pairs(clients: Sequence[Client], options: ChatOptions, tally: Tally) -> list[Pair]:
    traffic = Traffic(options.size, options.receipts, options.acknowledgements)
    couples = zip(clients[::2], clients[1::2], strict=True)
    return [Pair(i, couple, traffic, tally) for i, couple in enumerate(couples)]


def _start_sending(
    pairs: Sequence[Pair], options: ChatOptions, end: float
) -> asyncio.Task[None] | None:
    """Begin with the closed loop, or with the task of the open one, which ends at ``end``."""
    if options.rate is not None:
        return asyncio.create_task(_follow_schedule(pairs, options.rate, end))
    for pair in pairs:
        pair.keep_sending(options.window)
    return None


async def _follow_schedule(pairs: Sequence[Pair], rate: float, end: float) -> None:
    """Send one message after the other, each on its time or as soon as possible after it.

    Latency counts from the time in the schedule, so that whoever is slow can't hide it.
    """
    began, gap, sent = time.monotonic_ns(), 1e9 / rate, 0
    while (left := end - time.monotonic()) > 0:
        due = int((time.monotonic_ns() - began) / gap) + 1  # the first one at once
        for number in range(sent, due):
            pairs[number % len(pairs)].send(began + int(number * gap))
        sent = due
        await asyncio.sleep(min(_TICK, left))


async def _watch(pairs: Sequence[Pair], end: float, options: ChatOptions) -> None:
    """Wait for the end, and replace what is lost, lest a closed loop run dry."""
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(_LOOK, left))
        # A schedule goes on by itself, and what queues in a server for long is not lost.
        if options.rate is None:
            for pair in pairs:
                pair.give_up(time.monotonic_ns() - int(options.lost_after * 1e9))


async def _finish(
    pairs: Sequence[Pair], sending: asyncio.Task[None] | None, options: ChatOptions
) -> None:
    """Send no more, and wait until everything has arrived, or nothing does, or for too long."""
    for pair in pairs:
        pair.stop()
    if sending is not None:
        await sending
    now = time.monotonic()
    awaited, deadline, quiet_at = _awaited(pairs), now + options.drain, now + options.lost_after
    while awaited and (now := time.monotonic()) < min(deadline, quiet_at):
        await asyncio.sleep(_DRAIN_LOOK)
        if (left := _awaited(pairs)) < awaited:
            awaited, quiet_at = left, now + options.lost_after
    await asyncio.sleep(_SETTLE)


def _awaited(pairs: Sequence[Pair]) -> int:
    return sum(pair.awaited for pair in pairs)
