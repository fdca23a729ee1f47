"""Endpoints for whoever watches the server: is it alive, is it ready, what does it count."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parley.chat.ports import Bus, Store
from parley.errors import StoreUnavailable
from parley.incidents import Incident, tell
from parley.metrics import CONTENT_TYPE
from parley.socketio.engine import Engine

logger = logging.getLogger(__name__)

_STORE_TIMEOUT: Final = 2.0
"""Seconds in which the store must answer for the server to be ready."""


def routes(
    engine: Engine, store: Store, bus: Bus, metrics: Callable[[], Awaitable[bytes]]
) -> list[Route]:
    """``/healthz``, ``/readyz`` and ``/metrics``, which shows what ``metrics`` returns."""

    async def healthz(request: Request) -> Response:
        """200 while the process serves requests."""
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        """200 if new connections can be served; else 503.  Names what is away.

        Without the bus all goes on, only with delays: taking every node out of
        a load balancer because of it would turn a nuisance into an outage.
        """
        parts = {
            "store": await _store_answers(store),
            "bus": bus.connected,
            "accepting": not engine.draining,
        }
        ready = parts["store"] and parts["accepting"]
        status = "ready" if all(parts.values()) else "degraded" if ready else "not ready"
        return JSONResponse({"status": status, **parts}, 200 if ready else 503)

    async def exposition(request: Request) -> Response:
        return Response(await metrics(), headers={"content-type": CONTENT_TYPE})

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", exposition),
    ]


async def _store_answers(store: Store) -> bool:
    try:
        async with asyncio.timeout(_STORE_TIMEOUT):
            await store.ping()
    except (StoreUnavailable, TimeoutError) as exc:
        if isinstance(exc, TimeoutError):  # the others are told by the store
            text = "the store does not answer"
            reason = f"no answer within {_STORE_TIMEOUT:g} seconds"
            tell(logger, Incident.STORE_FAILED, text, reason=reason, operation="ping")
        return False
    return True
