"""The links to one Redis server, or to every primary of a cluster; and which channel is where."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import hiredis

from parley.bus.redis_connection import Address, RedisConnection, connect, refusal
from parley.bus.redis_link import PLAIN, SHARDED, Listener, RedisLink, Verbs
from parley.bus.redis_slots import primaries, slot_of
from parley.errors import BusBroken, BusUnavailable
from parley.redis_options import RedisOptions


class RedisRoutes:
    """Finds the link that a channel belongs to; :meth:`refresh` makes and repairs them."""

    def __init__(self, options: RedisOptions, prefix: bytes, listener: Listener) -> None:
        """Every channel's name begins with ``prefix``."""
        self._options = options
        self._trial = prefix + b"trial"
        self._listener = listener
        self._links: dict[Address, RedisLink] = {}
        self._slot_of: Callable[[bytes], int] = _one_slot
        self._slots: list[RedisLink | None] = [None]

    @property
    def links(self) -> list[RedisLink]:
        """The open ones."""
        return list(self._links.values())

    def find(self, name: bytes) -> RedisLink | None:
        """The link for a channel; None while its server is away."""
        return self._slots[self._slot_of(name)]

    def forget(self, link: RedisLink) -> None:
        """It is lost: nothing belongs to it any more."""
        if self._links.get(link.address) is link:
            del self._links[link.address]
            self._slots = [None if each is link else each for each in self._slots]

    async def refresh(self, witness: RedisLink | None = None) -> None:
        """Look who serves what, and connect where a link is missing.

        A cluster's ``witness`` is asked first, because it knows of a change.

        Raises:
            BusUnavailable, BusBroken: not everything is served, but all that could be
                linked is.
        """
        scout = await self._send_scout(witness)
        try:
            async with asyncio.timeout(self._options.timeout):
                servers = await self._explore(scout)
        except BaseException as exc:
            scout.close()
            if isinstance(exc, hiredis.ReplyError):
                raise refusal(scout.address, exc) from exc
            if isinstance(exc, TimeoutError):
                raise BusUnavailable(f"Redis at {scout.address} does not answer") from exc
            raise
        if scout.cluster:
            scout.close()
            await self._link_all(servers)
        else:
            self._replace({scout.address: self._link(scout, PLAIN)}, servers, _one_slot)

    def close(self) -> None:
        """Close all links."""
        for link in self.links:
            self.forget(link)
            link.close()

    # -- finding out

    async def _send_scout(self, witness: RedisLink | None) -> RedisConnection:
        """A new connection to whichever known server answers first."""
        known = [link.address for link in self.links]
        random.shuffle(known)  # one that sees less of its cluster than others isn't asked for ever
        if witness is not None and witness.alive:
            known.insert(0, witness.address)
        problem: Exception | None = None
        for address in dict.fromkeys([*known, Address(self._options.host, self._options.port)]):
            try:
                return await connect(address, self._options)
            except (BusUnavailable, BusBroken) as exc:
                problem = exc
        assert problem is not None
        raise problem

    async def _explore(self, scout: RedisConnection) -> list[Address | None]:
        """Return the server of each slot.

        Everything that the bus does is done once, so that a missing permission shows now.
        """
        verbs = SHARDED if scout.cluster else PLAIN
        await _permitted(scout.ask(verbs.publish, self._trial, b""))
        await _permitted(scout.ask(verbs.subscribe, self._trial))
        await _permitted(scout.ask(verbs.unsubscribe, self._trial))
        await scout.ask(b"PING")
        if not scout.cluster:
            return [scout.address]
        try:
            return primaries(await scout.ask(b"CLUSTER", b"SLOTS"), scout.address)
        except ValueError as exc:
            raise BusUnavailable(
                f"Redis at {scout.address} does not tell of its cluster's slots: {exc}"
            ) from exc

    # -- linking

    async def _link_all(self, servers: list[Address | None]) -> None:
        """Have a link to each of a cluster's ``servers``, as far as possible."""
        wanted = dict.fromkeys(address for address in servers if address is not None)
        missing = [address for address in wanted if address not in self._links]
        outcomes = await asyncio.gather(*map(self._connect, missing), return_exceptions=True)
        links = {address: link for address, link in self._links.items() if address in wanted}
        self._replace(links, servers, slot_of)
        for problem in outcomes:
            if problem is not None:
                raise problem
        if None in servers:
            raise BusUnavailable("the Redis cluster has no server for some of its slots")

    async def _connect(self, address: Address) -> None:
        self._links[address] = self._link(await connect(address, self._options), SHARDED)

    def _link(self, connection: RedisConnection, verbs: Verbs) -> RedisLink:
        return RedisLink(connection, verbs, self._listener, self._options.timeout)

    def _replace(
        self,
        links: dict[Address, RedisLink],
        servers: list[Address | None],
        slot_of: Callable[[bytes], int],
    ) -> None:
        old, self._links, self._slot_of = self._links, links, slot_of
        self._slots = [links.get(address) if address else None for address in servers]
        for address, link in old.items():
            if links.get(address) is not link:
                link.close()


async def _permitted(answer: Awaitable[object]) -> None:
    try:
        await answer
    except hiredis.ReplyError as exc:
        if not str(exc).startswith("MOVED "):  # where to is told to who has the permission
            raise


def _one_slot(name: bytes) -> int:
    return 0
