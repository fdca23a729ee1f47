"""The address of a node, by which the others reach it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from parley.errors import ListenError
from parley.redis_options import RedisOptions


async def bind(host: str, port: int, redis: RedisOptions) -> socket.socket:
    """A socket that listens where other nodes reach this one.

    ``host`` is an address or name of this machine; if it is empty, the socket
    listens on the address from which this machine reaches Redis, be Redis
    there or not.  Port 0 takes any free one.  Raises ListenError.
    """
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        raise ListenError(
            f"NODE_HOST is {host}, and it must be one address of this machine: the other nodes "
            "are told to come there."
        )
    if not host:
        host = await _address_towards(redis)
    failure: OSError | None = None
    for family, address in await _resolve(host, port, "NODE_HOST"):
        try:
            return _listen(family, address)
        except OSError as error:
            failure = failure or error
    assert failure is not None
    raise ListenError(
        f"Listening for other nodes on {host}, port {port}, failed: {failure.strerror}. "
        "Check NODE_HOST and NODE_PORT."
    ) from failure


async def _address_towards(redis: RedisOptions) -> str:
    failure: OSError | None = None
    for family, target in await _resolve(redis.host, redis.port, "REDIS_HOST"):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(target)  # finds the route; nothing is sent
            except OSError as error:
                failure = failure or error
            else:
                return str(probe.getsockname()[0])
    assert failure is not None
    raise ListenError(
        f"There is no way to REDIS_HOST {redis.host}: {failure.strerror}. Set NODE_HOST to the "
        "address of this machine by which the other nodes reach it."
    ) from failure


def _listen(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        # Binding alone would succeed beside another that does not listen yet.
        sock.listen()
    except BaseException:
        sock.close()
        raise
    return sock


async def _resolve(host: str, port: int, setting: str) -> list[tuple[int, Any]]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ListenError(f"The host name {host} is not known here: check {setting}.") from error
    return [(family, address) for family, *_, address in found]
