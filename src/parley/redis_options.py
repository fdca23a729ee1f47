"""How to reach Redis."""

from __future__ import annotations

import ssl

import msgspec


def unquoted(said: str) -> str:
    """What a server complains of, less what it quotes of a command that it doesn't know.

    That may be a password, or what people write to each other.
    """
    return said.partition(", with args beginning with")[0]


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
    """Begins every key and channel, so that several Parleys may share a server.

    In a cluster a part in braces, ``{parley}:``, would put everything on one node.
    """
    timeout: float = 5.0
    """Seconds after which a server that doesn't answer counts as away."""

    def channel(self, name: str) -> str:
        """The full name of a pub/sub channel.

        Holds the database's number: unlike keys, a server's channels are common to all databases.
        """
        return f"{self.prefix}{self.database}:{name}"

    def __repr__(self) -> str:
        return f"RedisOptions({self.host}:{self.port}/{self.database})"
