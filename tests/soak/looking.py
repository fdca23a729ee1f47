"""A look into servers from outside, by what they tell Prometheus."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from tests.e2e.server import ChatServer

PATIENCE: Final = 60.0
"""Seconds that servers have to forget the last of their clients."""
_LOOK: Final = 0.2
_TABLE: Final = re.compile(r'parley_table_entries\{table="(\w+)"\}')
_INCIDENT: Final = re.compile(r'parley_incidents_total\{kind="(\w+)"\}')

AT_REST: Final = {
    "connections_waiting": 0,
    "deadlines": 0,
    "followers": 0,
    "inboxes": 0,
    "inboxes_opening": 0,
    "key_waiters": 0,
    "lingering_transports": 0,
    "lists": 0,
    "peer_connects": 0,
    "peer_failures": 0,
    "presence": 0,
    "rate_offenders": 0,
    "rate_pauses": 0,
    "rate_spenders": 0,
    "repairs": 1,  # the one that compares inboxes
    "served_calls": 0,
    "session_moves": 0,
    "sessions": 0,
    "unanswered_events": 0,
    "unproven_links": 0,
    "waiting_requests": 0,
}
"""What tables hold that depend on clients, when there are none."""


class Look(msgspec.Struct, frozen=True):
    """What one server holds at one moment."""

    memory: int
    """Resident bytes."""
    files: int
    """Open file descriptors."""
    tasks: int
    waiting: int
    """Requests that wait to be stored, or calls that the store has yet to answer."""
    tables: dict[str, int]
    """Those of ``parley_table_entries``, and the connections that wait at the door."""
    incidents: dict[str, int]
    """How often each kind has happened."""

    def busy(self) -> dict[str, int]:
        """The tables that still hold something of a client."""
        rest = {**AT_REST, "bus_channels": 1 if "presence" in self.tables else 0}
        # A node of several has the channel on which nodes greet one another.
        held = {name: size for name, size in self.tables.items() if size != rest.get(name, size)}
        return {**held, "waiting": self.waiting} if self.waiting else held


class Sample(msgspec.Struct, frozen=True):
    """All servers at one moment."""

    seconds: float
    """Since the beginning."""
    servers: list[Look]


def look(server: ChatServer) -> Look:
    """What it holds now."""
    metrics = server.metrics()
    return Look(
        memory=int(metrics["process_resident_memory_bytes"]),
        files=int(metrics["process_open_fds"]),
        tasks=int(metrics["parley_tasks"]),
        waiting=int(metrics["parley_commit_queue"] + metrics["parley_store_calls_under_way"]),
        tables={
            **_labelled(_TABLE, metrics),
            "connections_waiting": int(metrics["parley_connections_waiting"]),
        },
        incidents=_labelled(_INCIDENT, metrics),
    )


async def looks(servers: Sequence[ChatServer]) -> list[Look]:
    """What they hold now."""
    return [await asyncio.to_thread(look, server) for server in servers]


async def at_rest(servers: Sequence[ChatServer]) -> list[Look]:
    """What they hold when nothing of a client is left.

    Raises AssertionError if something stays.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        seen = await looks(servers)
        busy = [each.busy() for each in seen]
        if not any(busy):
            return seen
        assert asyncio.get_running_loop().time() < deadline, f"this stays behind: {busy}"
        await asyncio.sleep(_LOOK)


def _labelled(pattern: re.Pattern[str], metrics: dict[str, float]) -> dict[str, int]:
    found = ((pattern.fullmatch(name), value) for name, value in metrics.items())
    return {match[1]: int(value) for match, value in found if match}
