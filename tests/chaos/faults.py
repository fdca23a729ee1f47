"""What can happen to a cluster.

Each function breaks something and returns when it is whole again, or has been
told to be.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from parley.store.postgres_connect import connect
from tests.services.proxy import Tricks

from .crowd import Crowd
from .form import FORM
from .site import Site, aside

Break: TypeAlias = Callable[[Site, Crowd], Awaitable[None]]

_TRICKS: Final = Tricks(seed=1, drop=0.2, double=0.2, delay=0.2)
_MOMENT: Final = 0.05
"""Seconds."""
_ELSEWHERE: Final = 0.5
"""Seconds in which clients of a dead node send to another one.  Commits don't time out so soon."""
_CUTS: Final = 10
_COMMITTING: Final = "query LIKE '%INSERT INTO heads%' AND pid <> pg_backend_pid()"
_WAITING: Final = (
    f"SELECT pid FROM pg_stat_activity WHERE {_COMMITTING} AND wait_event_type = 'Lock'"  # noqa: S608 - a constant
)

# In the order of the nodes' own commits, with which there would be a deadlock otherwise.
_HOLD: Final = "SELECT FROM heads WHERE owner = ANY ($1::uuid[]) ORDER BY owner FOR UPDATE"


class Fault(NamedTuple):
    """Something that happens."""

    happen: Break
    stays: Literal["all", "directly", "another", "none"]
    """Whose devices must stay connected: ``directly``, of those who connect to a node and not to
    the balancer; ``another``, of those who connect to another node than that which is harmed."""


async def kill_a_node(site: Site, crowd: Crowd) -> None:
    node = site.victim()
    await aside(node.kill, node.start)


async def kill_a_node_that_commits(site: Site, crowd: Crowd) -> None:
    """The server goes on with what it was storing while its clients send that again elsewhere."""
    node = site.victim()
    async with _commits_held_up(site, crowd.users):
        await asyncio.sleep(_ELSEWHERE)  # other nodes' commits wait by then, too
        await aside(node.kill)
        await asyncio.sleep(_ELSEWHERE)
    await aside(node.start)


async def stop_and_start_all_nodes(site: Site, crowd: Crowd) -> None:
    for node in site.nodes:
        await aside(node.restart)


async def freeze_a_node(site: Site, crowd: Crowd) -> None:
    node = site.victim()
    node.freeze()
    try:
        await asyncio.sleep(FORM.fault)
    finally:
        node.thaw()


async def kill_redis(site: Site, crowd: Crowd) -> None:
    await aside(site.valkey.kill)
    await asyncio.sleep(FORM.fault)
    await aside(site.valkey.start)


async def pause_redis(site: Site, crowd: Crowd) -> None:
    site.valkey.pause()
    try:
        await asyncio.sleep(FORM.fault)
    finally:
        site.valkey.resume()


async def play_tricks_on_redis(site: Site, crowd: Crowd) -> None:
    """It drops, doubles and reorders."""
    played = site.redis_line.played
    await aside(lambda: site.redis_line.play(_TRICKS), site.redis_line.cut)
    try:
        async with asyncio.timeout(FORM.patience):
            await asyncio.sleep(FORM.fault)
            while site.redis_line.played == played:  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(_MOMENT)
    finally:
        await aside(lambda: site.redis_line.play(None), site.redis_line.cut)


async def kill_postgres(site: Site, crowd: Crowd) -> None:
    """As ``pg_ctl restart -m immediate`` does."""
    await aside(site.postgres.kill)
    await asyncio.sleep(FORM.fault / 2)
    await aside(site.postgres.start)


async def terminate_commits(site: Site, crowd: Crowd) -> None:
    """The server ends transactions halfway."""
    async with _commits_held_up(site, crowd.users[:1]) as administrator:
        ended = await administrator.fetch(
            f"SELECT pg_terminate_backend(pid) FROM ({_WAITING}) AS waiting"  # noqa: S608 - as above
        )
        assert ended


async def cut_commits(site: Site, crowd: Crowd) -> None:
    """The connection is lost halfway, and the server commits nevertheless."""
    async with _commits_held_up(site, crowd.users[:1]):
        await aside(site.database_line.cut)


async def cut_statements(site: Site, crowd: Crowd) -> None:
    """Connections to PostgreSQL are cut within what is asked, and within what is answered."""
    for _ in range(_CUTS):
        await aside(site.database_line.cut_within_request)
        await asyncio.sleep(_MOMENT)
        await aside(site.database_line.cut_within_reply)
        await asyncio.sleep(_MOMENT)


FAULTS: Final = {
    "a node is killed": Fault(kill_a_node, "another"),
    "a node is killed while it commits": Fault(kill_a_node_that_commits, "another"),
    "all nodes are restarted one by one": Fault(stop_and_start_all_nodes, "none"),
    "a node stands still for seconds": Fault(freeze_a_node, "another"),
    "redis is killed": Fault(kill_redis, "directly"),
    "redis stands still": Fault(pause_redis, "directly"),
    "redis drops doubles and reorders": Fault(play_tricks_on_redis, "directly"),
    "postgres is restarted immediately": Fault(kill_postgres, "all"),
    "commits are ended halfway": Fault(terminate_commits, "all"),
    "connections are lost while they commit": Fault(cut_commits, "all"),
    "connections are cut within statements": Fault(cut_statements, "all"),
}


@asynccontextmanager
async def _commits_held_up(site: Site, owners: Sequence[str]) -> AsyncIterator[Any]:
    """Commits to these inboxes are in the midst of their transaction meanwhile."""
    holder = await connect(site.postgres.options())
    administrator = await connect(site.postgres.options())
    try:
        async with asyncio.timeout(FORM.patience), holder.transaction():
            await holder.fetch(_HOLD, owners)
            while not await administrator.fetch(_WAITING):  # noqa: ASYNC110 - nothing tells when
                await asyncio.sleep(_MOMENT)
            yield administrator
    finally:
        holder.terminate()
        administrator.terminate()
