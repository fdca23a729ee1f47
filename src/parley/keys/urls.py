"""From where keys may be fetched."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

PORTS: Final = {"https": 443, "http": 80}
"""The schemes, and their usual ports."""
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")


def url_problem(url: str) -> str | None:
    """Why keys must not be fetched from there; None if they may."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL"
    if not _VISIBLE.fullmatch(url) or parts.scheme not in PORTS or not host:
        return "is not a URL that begins with https://"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "must hold neither a user nor a password nor a #"
    if parts.scheme == "http" and not _is_loopback(host):
        return "must begin with https://: whoever is on the way could give keys of their own"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
