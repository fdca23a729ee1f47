"""Endpoints for whoever watches the server: is it alive, is it ready, what does it count."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parley.chat.ports import Store
from parley.errors import StoreUnavailable
from parley.metrics import CONTENT_TYPE, Metrics
from parley.socketio.engine import Engine

logger = logging.getLogger(__name__)

_STORE_TIMEOUT: Final = 2.0
"""Seconds in which the store must answer for the server to be ready."""


def routes(engine: Engine, store: Store, metrics: Metrics) -> list[Route]:
    """``/healthz``, ``/readyz`` and ``/metrics``."""

    async def healthz(request: Request) -> Response:
        """200 while the process serves requests."""
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        """200 if new connections can be served; else 503, naming what is away."""
        parts = {"store": await _store_answers(store), "accepting": not engine.draining}
        ready = all(parts.values())
        body = {"status": "ready" if ready else "not ready", **parts}
        return JSONResponse(body, 200 if ready else 503)

    async def exposition(request: Request) -> Response:
        return Response(metrics.exposition(), headers={"content-type": CONTENT_TYPE})

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
        logger.warning("the store does not answer: %s", exc)
        return False
    return True
