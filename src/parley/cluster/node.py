"""A node of the cluster: this process, as the others see it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import socket
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from parley.cluster.address import bind
from parley.cluster.connection import LinkOptions
from parley.cluster.listener import Listener, Method
from parley.cluster.peers import ERRORS, ClusterPeers, methods_of
from parley.cluster.presence import RedisPresence
from parley.cluster.redis_client import RedisClient, RedisRefused, RedisUnavailable
from parley.cluster.registry import NodeRecord, Registry
from parley.errors import BusBroken, ListenError
from parley.incidents import Incident, fault, tell
from parley.redis_options import RedisOptions
from parley.socketio.peers import Peers

logger = logging.getLogger(__name__)

_KEY_SIZE: Final = 32
_TIDY_EVERY: Final = 60
"""Beats after which a node looks for what is left over of others."""
_FAREWELL: Final = 1.0
"""Seconds that a node which stops gives Redis to hear of it."""


class NodeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is to be.  Times in seconds."""

    name: str
    """Made by :func:`parley.cluster.registry.new_name`."""
    group: str
    """Equal for the workers of one ``parley start``; see :meth:`Registry.siblings`."""
    version: str
    """Parley's."""
    host: str = ""
    """The address to listen on, by which the other nodes reach this one.

    Empty: the one from which this machine reaches Redis.
    """
    ports: tuple[int, ...] = (0,)
    """The first that is free is taken; 0 is any free one."""
    publish_interval: float = 1.0
    lifetime: float = 15.0
    """For so long others believe in a node that doesn't say any more that it lives."""
    link: LinkOptions = LinkOptions()


class Node:
    """Listens to the other nodes, and keeps Redis informed.  Made by :meth:`open`."""

    def __init__(self, redis: RedisOptions, options: NodeOptions, sock: socket.socket) -> None:
        address, port = sock.getsockname()[:2]
        own = NodeRecord(
            name=options.name,
            address=address,
            port=port,
            key=secrets.token_bytes(_KEY_SIZE),
            group=options.group,
            started=int(time.time() * 1000),
            version=options.version,
        )
        self._options = options
        self._sock = sock
        self._own = own
        self._redis = RedisClient(redis)
        self._registry = Registry(self._redis, own, lifetime=options.lifetime)
        self._listener: Listener | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._away = False
        self.peers = ClusterPeers(self._registry, options.link)
        self.presence = RedisPresence(self._redis, options.name, lifetime=options.lifetime)

    @classmethod
    async def open(cls, redis: RedisOptions, options: NodeOptions) -> Node:
        """A node that has its address, but is neither known nor answers yet.

        Raises:
            ListenError: it can't have that address.
        """
        *others, last = options.ports
        for port in others:
            with contextlib.suppress(ListenError):
                return cls(redis, options, await bind(options.host, port, redis))
        return cls(redis, options, await bind(options.host, last, redis))

    @property
    def name(self) -> str:
        """As the others know it."""
        return self._own.name

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._own.port

    async def start(self, sessions: Peers, methods: Mapping[str, Method]) -> None:
        """Listen, and be known when this returns; or, if Redis is away, when it is back.

        Raises:
            BusBroken: Redis doesn't permit it.

        ``sessions`` are this node's.  ``methods`` are what others may
        :meth:`~ClusterPeers.ask` it besides; their names must be new.
        """
        served = methods_of(sessions)
        assert not served.keys() & methods.keys()
        self._listener = Listener(self._own.key, {**served, **methods}, ERRORS, self._options.link)
        await self._listener.start(self._sock)
        logger.info("other nodes reach this one at %s, port %d", self._own.address, self._own.port)
        await self._publish(first=True)
        self._publishing = asyncio.create_task(self._keep_published())

    async def siblings(self) -> list[str]:
        """The names of the other nodes of this one's group.  Raises RedisUnavailable."""
        return [record.name for record in await self._registry.siblings()]

    async def ask(self, node: str, method: str, payload: bytes) -> bytes:
        """As :meth:`ClusterPeers.ask`."""
        return await self.peers.ask(node, method, payload)

    def sizes(self) -> dict[str, int]:
        """How much is in each internal table."""
        listener = self._listener
        return {
            **self.peers.sizes(),
            "served_links": len(listener.links) if listener else 0,
            "unproven_links": len(listener.unproven) if listener else 0,
            "served_calls": len(listener.running) if listener else 0,
            "presence": len(self.presence),
        }

    async def close(self) -> None:
        """Stop being known, then stop listening; what is under way is cancelled.  Idempotent."""
        if self._publishing is not None:
            self._stopping.set()
            await asyncio.wait((self._publishing,), timeout=_FAREWELL)
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)
        if self._listener is not None:
            await self._listener.close()
        self._sock.close()
        await self.peers.close()
        await self._registry.close()
        await self._redis.close()

    async def _keep_published(self) -> None:
        """Say that this node lives, until it stops; and that it has, at the end."""
        for beat in itertools.count(1):
            if self._stopping.is_set():
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.publish_interval):
                    await self._stopping.wait()
                    break
            await self._publish()
            if beat % _TIDY_EVERY == 0:
                with contextlib.suppress(RedisUnavailable):
                    await self._registry.tidy()
        with contextlib.suppress(RedisUnavailable):
            await self._registry.withdraw()
            await self.presence.withdraw()

    async def _publish(self, *, first: bool = False) -> None:
        try:
            await self._registry.publish()
            await self.presence.publish()
        except RedisUnavailable as error:
            if first and isinstance(error, RedisRefused):
                raise BusBroken(
                    f"Redis does not let Parley keep its keys ({error}). Check REDIS_USERNAME and "
                    "REDIS_PASSWORD, and the rights of that user."
                ) from error
            text = "Redis is away, others may not find this node"
            tell(logger, Incident.NODE_UNKNOWN, text, reason=error, always=not self._away)
            self._away = True
        except Exception:
            # Whatever it is, a node that is not known any more would be worse.
            fault(logger, "Redis could not be told that this node lives")
        else:
            if self._away:
                logger.info("Redis is back")
            self._away = False
