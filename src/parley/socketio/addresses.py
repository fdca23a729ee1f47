"""Whose address a request counts for: the client's, as far as those between can be trusted.

Sans-I/O.  RFC 7239 describes ``Forwarded``; ``X-Forwarded-For`` is the older
header that most proxies write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, Literal, TypeAlias

import msgspec

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_SITE: Final = 64
"""Bits of an IPv6 address that tell one customer from another; the rest is the customer's own."""
_FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*("[^"]*"|[^;\s]*)', re.IGNORECASE)
_PORT: Final = re.compile(r":\d+$")


class Proxies(msgspec.Struct, frozen=True, dict=True):
    """The proxies that are believed to say where a request comes from."""

    trusted: tuple[str, ...] = ()
    """Addresses and networks: ``10.0.0.7``, ``10.0.0.0/8``."""
    header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    """The one that they write.  The other may be the client's own word, passed on."""

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """The trusted ones.  Raises ValueError if one isn't an address or a network."""
        return tuple(ip_network(each, strict=False) for each in self.trusted)

    def client(self, peer: str, headers: Mapping[str, str]) -> str | None:
        """The address that a request counts for; None if it counts for none.

        It is the last one, as requests pass proxies, that isn't a trusted
        proxy's: what comes before it is the client's to invent.  None for
        trusted proxies themselves and for peers on this machine or in a
        private network, which may be proxies that nobody has named.  IPv6
        addresses count by their first 64 bits.
        """
        if not self.networks or not self._trusts(_parse(peer)):
            return _of_peer(peer)
        hops = _hops(self.header, headers.get(self.header, ""))
        for hop in reversed(hops):
            told = _parse(hop)
            if told is None:  # "unknown", or a name of the proxy's own
                return None
            if not self._trusts(told):
                return _name(told)
        return None

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self.networks)


def _hops(header: str, value: str) -> list[str]:
    """The addresses that a header names, in its order; not all need be addresses."""
    parts = value.split(",")
    if header == "forwarded":
        found = (_FOR.search(part) for part in parts)
        parts = [match[1].strip('"') if match else "" for match in found]
    return [part.strip() for part in parts] if value else []


@lru_cache(maxsize=4_096)
def _parse(text: str) -> Address | None:
    """An address, maybe with a port; None if it is none.  An IPv4 address in IPv6's form is one."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif "." in text:
        text = _PORT.sub("", text)
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=4_096)
def _of_peer(peer: str) -> str | None:
    address = _parse(peer)
    return _name(address) if address is not None and address.is_global else None


def _name(address: Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, _SITE), strict=False))
