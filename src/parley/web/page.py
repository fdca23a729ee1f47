"""The web page: a chat client in the browser, and the files that it is made of."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from parley.tokens import ReadyUser

ReadyUsers: TypeAlias = Callable[[], Sequence[ReadyUser]]

_STATIC: Final = Path(__file__).with_name("static")
_INDEX: Final = "index.html"
_SDK: Final = "parley.js"
_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_HOST: Final = re.compile(r"[0-9A-Za-z.-]+(?::[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?")
"""What may be written into a header as it came: a name or an address, and a port."""


def routes(ready_users: ReadyUsers | None = None) -> list[Route]:
    """``/`` and its files, and ``/users.json``: ``ready_users``, for this machine alone."""
    files = [_file(path) for path in sorted(_STATIC.iterdir()) if path.suffix in _TYPES]
    return [*files, _users(ready_users or tuple)]


def _file(path: Path) -> Route:
    """The route of one file, which is read now and kept: together they are small."""
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    media_type = _TYPES[path.suffix]

    async def serve(request: Request) -> Response:
        headers = {
            "Content-Security-Policy": _policy(request.headers.get("host", "")),
            # Kept, and asked about each time: all files of a page are of one version.
            "Cache-Control": "no-cache",
            "ETag": etag,
        }
        if path.name == _SDK:  # other sites may import it from here
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            headers["Access-Control-Allow-Origin"] = "*"
        if _known(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return Route("/" if path.name == _INDEX else f"/{path.name}", serve)


def _known(wanted: str, etag: str) -> bool:
    """True if ``If-None-Match`` (RFC 9110 section 13.1.2) names what we have."""
    return etag in [known.strip().removeprefix("W/") for known in wanted.split(",")]


def _policy(host: str) -> str:
    """Nothing but what is served here, and no connection but to here."""
    # Not every browser counts ws: as 'self'.
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        f"connect-src 'self'{sockets}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


def _users(ready_users: ReadyUsers) -> Route:
    async def serve(request: Request) -> Response:
        # The one keeps neighbours in the network out; the other, pages of other sites that
        # had their name point to this machine.
        here = all(map(_is_loopback, (*_remotes(request), _hostname(request))))
        return Response(
            msgspec.json.encode(ready_users() if here else ()),
            media_type="application/json",
        )

    return Route("/users.json", serve)


def _remotes(request: Request) -> Iterator[str]:
    """Where a request comes from: our peer, and those for whom it says that it passes it on."""
    yield request.client.host if request.client else ""
    for hops in request.headers.getlist("x-forwarded-for"):
        yield from (hop.strip() for hop in hops.split(","))


def _hostname(request: Request) -> str:
    """The name by which the browser knows us; empty if it makes no sense."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
