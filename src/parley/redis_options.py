"""How to reach Redis."""

from __future__ import annotations

import ssl

import msgspec


class RedisOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One Redis or Valkey server, or any node of a cluster: which it is shows at connecting."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    database: int = 0
    """Of a single server; a cluster has but 0."""
    tls: ssl.SSLContext | None = None
    prefix: str = "parley:"
    """Begins every key and channel, so that several Parleys may share a server."""
    timeout: float = 5.0
    """Seconds after which a server that doesn't answer counts as away."""

    def __repr__(self) -> str:
        return f"RedisOptions({self.host}:{self.port}/{self.database})"
