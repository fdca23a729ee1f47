"""What every HTTP answer tells browsers and caches, unless it says otherwise itself."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_USUAL: Final = (
    # Answers are for whoever asked, now.
    (b"cache-control", b"no-store"),
    # Nothing but the web page is meant to be looked at as a page, or within one.
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    # Other sites can't embed it, to learn from whether and how that works.
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    # Data is never taken for a script.
    (b"x-content-type-options", b"nosniff"),
)


class UsualHeaders:
    """An ASGI application whose answers have them; those that it sets itself stay."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_them(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                usual = [header for header in _USUAL if header[0] not in own]
                message = {**message, "headers": [*message["headers"], *usual]}
            await send(message)

        await self._app(scope, receive, send_with_them)
