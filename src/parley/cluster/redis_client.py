"""A client of one Redis server or of a Redis cluster; it finds out by itself which it is."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import ConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from parley.errors import BackendAway
from parley.redis_options import RedisOptions, unquoted

Command = tuple[str | bytes | int, ...]
"""The command's name, its key, and the rest."""

_REFUSALS: Final = (AuthenticationError, NoPermissionError)
_ARGUMENTS: Final = re.compile(r"""\(["'](.*)["'],\)""")
"""How redis-py shows those of an error."""
_AT_ONCE: Final = 4
"""Requests under way; further ones wait for these."""


class RedisUnavailable(BackendAway):
    """Redis did not answer in time, or not with what it was asked for."""


class RedisRefused(RedisUnavailable):
    """Redis doesn't let us: the password or the rights are wrong."""


class RedisClient:
    """Sends commands; connects when first used, and anew after any failure."""

    def __init__(self, options: RedisOptions) -> None:
        self.options = options
        self._client: Redis | RedisCluster | None = None
        self._connecting = asyncio.Lock()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    @property
    def prefix(self) -> str:
        """Begins every key."""
        return self.options.prefix

    async def run(self, *commands: Command) -> list[Any]:
        """Send commands in one go, and return their replies in the same order.

        Each names at most one key.  They are not atomic, and a failure leaves
        open which of them were done; they may have been done twice, too.

        Raises:
            RedisUnavailable: after the ``timeout`` of the options at the latest.
            RedisRefused: a kind of it that doesn't heal by itself.
        """
        client = None
        try:
            async with asyncio.timeout(self.options.timeout), self._turns:
                client = await self._connected()
                return await _send(client, commands)
        except Exception as error:
            await self._forget(client)
            kind = RedisRefused if isinstance(error, _REFUSALS) else RedisUnavailable
            raise kind(self._reason(error)) from error

    def _reason(self, error: Exception) -> str:
        if isinstance(error, TimeoutError):
            return f"no answer in {self.options.timeout:g} seconds"
        if isinstance(error, RedisError | OSError):
            return _said(error)
        # redis-py takes replies for what they should be.
        return f"its answer makes no sense ({type(error).__name__})"

    async def close(self) -> None:
        """Release all connections.  Idempotent."""
        await self._forget(self._client)

    async def _connected(self) -> Redis | RedisCluster:
        async with self._connecting:
            if self._client is None:
                self._client = await self._recognise()
            return self._client

    async def _recognise(self) -> Redis | RedisCluster:
        single = _single(self.options)
        try:
            (hello,) = await _send(single, [("HELLO",)])
            mode = _mode(hello)
        except BaseException:
            await single.aclose()
            raise
        if mode != b"cluster":
            return single
        await single.aclose()
        return _cluster(self.options)

    async def _forget(self, client: Redis | RedisCluster | None) -> None:
        """Begin anew: after a failure the server may be another, or no primary any more."""
        if client is not None and client is self._client:
            self._client = None
            with contextlib.suppress(RedisError, OSError):
                await client.aclose()


def _said(error: Exception) -> str:
    """What is wrong, without the command, which redis-py quotes if it was one of several."""
    said = str(error).rpartition(" caused error: ")[2]
    if inner := _ARGUMENTS.fullmatch(said):
        said = inner[1]
    return unquoted(said)


def _mode(hello: Any) -> object:
    """Of the server that said ``hello``, be that what it will.  Raises RedisError."""
    try:
        return dict(zip(hello[::2], hello[1::2], strict=True))[b"mode"]
    except (KeyError, TypeError, ValueError) as error:
        raise RedisError("it does not say what kind of server it is") from error


async def _send(client: Redis | RedisCluster, commands: Sequence[Command]) -> list[Any]:
    async with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return await pipeline.execute()


class _TlsConnection(SSLConnection):
    """Takes a ready-made context, where redis-py would make one from file names."""

    def __init__(self, *, tls: ssl.SSLContext, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.ssl_context.context = tls


def _arguments(options: RedisOptions) -> dict[str, Any]:
    return {
        "host": options.host,
        "port": options.port,
        # Named as the bus does it: a server without passwords takes any for this user.
        "username": options.username or ("default" if options.password else None),
        "password": options.password or None,
        # run() sets the time limit, for all that a request takes.
        "socket_timeout": None,
        "socket_connect_timeout": None,
        # Once more, for a connection that was cut while nobody used it; further attempts are
        # the caller's.
        "retry": Retry(NoBackoff(), 1),
        # The younger protocol would only bring pushes that nobody waits for.
        "protocol": 2,
        # It would introduce itself otherwise, which not every user may.
        "driver_info": None,
    }


def _single(options: RedisOptions) -> Redis:
    arguments = _arguments(options) | {"db": options.database}
    if options.tls is None:
        pool = ConnectionPool(Connection, **arguments)
    else:
        pool = ConnectionPool(_TlsConnection, tls=options.tls, **arguments)
    return Redis.from_pool(pool)


def _cluster(options: RedisOptions) -> RedisCluster:
    client = RedisCluster(**_arguments(options))
    if options.tls is not None:
        encrypted = {"connection_class": _TlsConnection, "tls": options.tls}
        client.nodes_manager.connection_kwargs.update(encrypted)
        for node in client.startup_nodes:
            node.connection_class = _TlsConnection
            node.connection_kwargs["tls"] = options.tls
    return client
