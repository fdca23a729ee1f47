"""Puts the parts together: the only place that chooses backends."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from parley.bus.local import LocalBus
from parley.chat.auth import Authenticator
from parley.chat.delivery import Delivery
from parley.chat.listing import Listing
from parley.chat.ports import Bus, Clock, Store
from parley.chat.service import ChatService, Hooks, Limits
from parley.clock import SystemClock
from parley.errors import SettingsError
from parley.gateway import Gateway, encode_message
from parley.metrics import Metrics
from parley.settings import Settings
from parley.socketio.engine import Options
from parley.socketio.polling import PollingEndpoint
from parley.socketio.server import Server
from parley.socketio.websocket import websocket_protocol
from parley.store import lockfile
from parley.store.sqlite import SqliteStore
from parley.web import health

logger = logging.getLogger(__name__)

PATH: Final = "/socket.io/"
_LOOK: Final = 0.1
"""Seconds between two looks whether the operator has lost patience."""
_KEEP_ALIVE: Final = 75
"""Seconds; longer than load balancers keep their side, so that they are the ones to close."""


class Parley:
    """One node: everything between the store and the sockets."""

    def __init__(self, settings: Settings, store: Store, bus: Bus, clock: Clock) -> None:
        self._grace = settings.shutdown_grace
        self._stop_by: float | None = None
        """When the grace ends, in the loop's time; None before it has begun."""
        self._bus = bus
        self.server = Server(_options(settings))
        metrics = Metrics()
        self._delivery = Delivery(store, bus, encode_message)
        self._service = ChatService(
            store,
            self._delivery,
            clock,
            Limits(settings.message_max_length, settings.commit_queue_max),
            Hooks(self.server.engine.batch, metrics.on_commit),
        )
        gateway = Gateway(
            self.server,
            Authenticator(settings.jwt_secret_key, settings.jwt_user_claims, clock),
            self._service,
            Listing(store, max_chats=settings.list_max_chats, max_bytes=settings.list_max_bytes),
            self._delivery,
            clock,
        )
        metrics.watch(self.server.engine, gateway, self._service, self._delivery)
        self.asgi = Starlette(
            routes=[
                Route(PATH, PollingEndpoint(self.server.engine)),
                *health.routes(self.server.engine, store, metrics),
                Route("/", _index),
            ]
        )

    async def drain(self) -> None:
        """Answer what was accepted, and close all connections so that clients reconnect."""
        self._stop_by = asyncio.get_running_loop().time() + self._grace
        await self.server.engine.drain(self._grace)

    async def close(self) -> None:
        """Store what was accepted, in what :meth:`drain` left of the grace; release everything."""
        try:
            async with asyncio.timeout_at(self._stop_by):
                await self._service.close()
        except TimeoutError:
            logger.warning("the store did not answer in time: what waited for it is given up")
        await self._delivery.shut_down()
        self.server.engine.deadlines.close()
        await self._bus.close()


def serve(
    settings: Settings, sock: socket.socket, *, on_ready: Callable[[], None] | None = None
) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT; then stop gracefully and return.

    ``on_ready`` is called when connections are accepted.

    Raises:
        StoreBroken: the database can't be used.
        SettingsError: this version has no such backend.
    """
    # uvicorn handles both signals while it serves, and delivers them again
    # when it is done; then, and before it serves, they just end us.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    loop = _loop_factory()
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_serve(settings, sock, on_ready))


async def _serve(
    settings: Settings, sock: socket.socket, on_ready: Callable[[], None] | None
) -> None:
    async with _open_store(settings) as store:
        parley = Parley(settings, store, LocalBus(), SystemClock())
        try:
            await _Server(_uvicorn_config(settings, parley), parley, on_ready).serve([sock])
        finally:
            await parley.close()


@contextlib.asynccontextmanager
async def _open_store(settings: Settings) -> AsyncIterator[Store]:
    if settings.database_type != "sqlite":
        raise SettingsError(
            f"DATABASE_TYPE={settings.database_type} is not supported by this version; "
            "use DATABASE_TYPE=sqlite."
        )
    path = Path(settings.database_db)
    with lockfile.serving(path):  # before anything in it is upgraded
        store = await SqliteStore.open(path)
        try:
            yield store
        finally:
            await store.close()


class _Server(uvicorn.Server):
    """uvicorn's server, with our end: connections are drained before it closes them."""

    def __init__(
        self, config: uvicorn.Config, parley: Parley, on_ready: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self._parley = parley
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What exists now lives as long as we do: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        if self._on_ready is not None:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logger.info("stopping: no new connections; finishing what was accepted")
        for server in self.servers:
            server.close()
        drain = asyncio.ensure_future(self._parley.drain())
        while not drain.done() and not self.force_exit:  # Ctrl+C again: at once
            await asyncio.wait((drain,), timeout=_LOOK)
        drain.cancel()
        await super().shutdown(sockets)
        logger.info("stopped")


def _uvicorn_config(settings: Settings, parley: Parley) -> uvicorn.Config:
    return uvicorn.Config(
        parley.asgi,
        ws=websocket_protocol({PATH: parley.server.engine}),
        http="httptools",
        lifespan="off",
        log_config=None,
        # Its start and stop are told by our own lines.
        log_level=None if settings.log_level == "debug" else "warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=2,
        ssl_certfile=settings.tls_cert_file or None,
        ssl_keyfile=settings.tls_key_file or None,
    )


def _options(settings: Settings) -> Options:
    return Options(
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        connect_timeout=settings.connect_timeout,
        max_payload=settings.max_payload,
        max_outbox=settings.outbox_max_bytes,
        max_in_flight=settings.max_in_flight,
        origins=frozenset(settings.allowed_origins),
        keep_handshake=False,
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    if os.name == "nt":  # uvloop has no Windows version
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 - where there is one

    return uvloop.new_event_loop


def _exit(signal_number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


async def _index(request: Request) -> Response:
    return PlainTextResponse(
        "This is Parley, a chat server. Connect with a Socket.IO client; "
        "/healthz, /readyz and /metrics tell how it does.\n"
    )
