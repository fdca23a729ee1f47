"""The listening socket: bound before anything else starts, so that failure is early and clear."""

from __future__ import annotations

import errno
import socket
from typing import Final

from parley.errors import ListenError

BACKLOG: Final = 4096
"""Connections that wait to be accepted; Linux takes no more by default (`net.core.somaxconn`)."""


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket that listens on ``host`` (an IPv4 or IPv6 address, or a name) and ``port``.

    Port 0 takes any free one.  ``::`` takes IPv4 connections too.  Clients that
    connect before the server runs wait in the queue.  Raises ``ListenError``.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError(
            f"The host name {host} is not known here: set --host or HOST to an address of this "
            "machine, 127.0.0.1 or 0.0.0.0."
        ) from error
    failure: OSError | None = None
    for family, kind, protocol, _, address in found:
        try:
            return _listen(family, kind, protocol, address)
        except OSError as error:
            # The first one tells most: a second address is often just a missing IPv6.
            failure = failure or error
    raise ListenError(_sentence(host, port, failure)) from failure


def url_of(sock: socket.socket, *, tls: bool = False) -> str:
    """The URL under which a client on this machine reaches ``sock``."""
    host, port = sock.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = "localhost"
    if ":" in host:
        host = f"[{host}]"
    return f"{'https' if tls else 'http'}://{host}:{port}"


def _listen(
    family: int, kind: int, protocol: int, address: tuple[str | int, ...] | tuple[int, bytes]
) -> socket.socket:
    sock = socket.socket(family, kind, protocol)
    try:
        # A restart must not wait until the connections before it are forgotten.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            only_v6 = address[0] != "::"
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        sock.bind(address)
        # Binding alone would succeed beside another that has not begun to listen.
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _sentence(host: str, port: int, error: OSError | None) -> str:
    match error and error.errno:
        case errno.EADDRINUSE:
            return (
                f"Port {port} on {host} is taken: stop the other program or choose another with "
                "--port or PORT."
            )
        case errno.EACCES | errno.EPERM:
            return (
                f"Port {port} on {host} is not allowed for this user: choose one from 1024 up "
                "with --port or PORT."
            )
        case errno.EADDRNOTAVAIL:
            return (
                f"{host} is no address of this machine: set --host or HOST to one that is, "
                "127.0.0.1 or 0.0.0.0."
            )
    reason = error.strerror if error else "it has no address"
    return f"Listening on {host}, port {port}, failed: {reason}. Check --host and --port."
