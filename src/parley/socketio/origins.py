"""Which web pages may connect, as browsers tell of them by ``Origin`` (RFC 6454).

Nothing else sends that header, or could be held back by it: it protects the
visitors of other sites, and not the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class Origins:
    """The pages of our own address, and those of other origins that are allowed."""

    def __init__(self, allowed: Iterable[str] = (), *, encrypted: bool = False) -> None:
        """``*`` allows any.  ``encrypted``: clients speak TLS with us, and not with a proxy."""
        self._allowed = frozenset(map(_normal, allowed))
        self._encrypted = encrypted
        self.any = "*" in self._allowed

    def allow(self, headers: Mapping[str, str]) -> bool:
        """True if a request, with header names in lower case, comes from no page or may come."""
        origin = headers.get("origin")
        if origin is None or self.any:
            return True
        origin = _normal(origin)
        return origin in self._allowed or self._is_own(origin, headers)

    def _is_own(self, origin: str, headers: Mapping[str, str]) -> bool:
        """True if the page has the address that the request was sent to.

        Behind a proxy we don't see which scheme that has, unless the proxy says so.  What it says
        can only narrow what is allowed: a page that came unencrypted, which anybody on the way may
        have written, isn't one of a server that is reached by TLS.
        """
        scheme, _, authority = origin.partition("://")
        if not authority or scheme not in _DEFAULT_PORTS:
            return False
        if scheme == "http" and (self._encrypted or _forwarded_scheme(headers) == "https"):
            return False
        return authority == _without_port(headers.get("host", "").lower(), scheme)


def _normal(origin: str) -> str:
    """As browsers write it: in lower case, and without a port that is the scheme's own."""
    scheme, separator, authority = origin.lower().partition("://")
    return scheme + separator + _without_port(authority, scheme)


def _without_port(authority: str, scheme: str) -> str:
    return authority.removesuffix(_DEFAULT_PORTS.get(scheme, ""))


def _forwarded_scheme(headers: Mapping[str, str]) -> str:
    """What the client's side of the first proxy is, as that says; empty if it doesn't."""
    return headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
