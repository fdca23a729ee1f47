"""Serving: uvicorn around one node, and the end of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import FrameType
from typing import Final

import structlog
import uvicorn

from parley import processes
from parley.app import NO_EXTRAS, PATH, Extras, Parley
from parley.backends import Place, open_backends
from parley.chat.ports import Clock
from parley.clock import SystemClock
from parley.incidents import Incident, tell
from parley.listen import BACKLOG
from parley.settings import Settings
from parley.socketio.front import front_protocol
from parley.socketio.websocket import websocket_protocol
from parley.tls_files import ServerTls, TlsFile

logger = logging.getLogger(__name__)

_YOUNG_OBJECTS: Final = 10_000
"""New objects before the garbage collector looks at them.  A batch of messages makes thousands, and
leaves none behind; Python's 700 would have it look several times in each."""
_LOOK: Final = 0.1
"""Seconds between two looks whether the operator has lost patience."""
_TLS_TIMEOUT: Final = 15.0
"""Seconds for a TLS handshake."""
_ALONE: Final = Place()
_SYSTEM_CLOCK: Final = SystemClock()


def serve(
    settings: Settings,
    sock: socket.socket,
    *,
    on_ready: Callable[[], None] | None = None,
    place: Place = _ALONE,
    extras: Extras = NO_EXTRAS,
    clock: Clock = _SYSTEM_CLOCK,
) -> None:
    """Serve on a bound socket until SIGTERM or SIGINT; then stop gracefully and return.

    ``on_ready`` is called when connections are accepted.  ``clock``: what time it is.

    Raises:
        BackendBroken: the database or Redis can't be used.
    """
    # Until the event loop runs; raised within one of its callbacks it would be swallowed.
    _on_stop_signals(_exit)
    if settings.workers > 1:
        structlog.contextvars.bind_contextvars(worker=place.worker)
    processes.stop_with_parent()
    tls = _server_tls(settings)
    if hasattr(signal, "SIGHUP") and settings.workers == 1:
        signal.signal(
            signal.SIGHUP, partial(_renew_certificate, tls) if tls else _say_how_to_restart
        )
    stopped_at_the_start = contextlib.suppress(asyncio.CancelledError)
    with stopped_at_the_start, asyncio.Runner(loop_factory=loop_factory()) as runner:
        node = _node(settings, place, extras, clock)
        runner.run(_serve(settings, sock, tls, on_ready, node))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the fastest event loop that there is."""
    if os.name == "nt":  # uvloop has no Windows version
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 - where there is one

    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    sock: socket.socket,
    tls: ServerTls | None,
    on_ready: Callable[[], None] | None,
    node: AbstractAsyncContextManager[Parley],
) -> None:
    stop = _StopSignals()
    async with node as parley:
        server = _Server(_uvicorn_config(settings, parley, tls), parley, on_ready)
        stop.server = server
        await server.serve([sock])


@contextlib.asynccontextmanager
async def _node(
    settings: Settings, place: Place, extras: Extras, clock: Clock
) -> AsyncIterator[Parley]:
    """A node that is ready for connections; closed at the end."""
    async with open_backends(settings, place) as backends:
        parley = Parley(settings, place, backends, clock, extras)
        try:
            await parley.start()
            yield parley
        finally:
            await parley.close()


class _StopSignals:
    """Ends the start at SIGTERM or SIGINT; or the server, once there is one.

    uvicorn handles both while it serves, and delivers them again when it has
    stopped; then they have done their work.
    """

    def __init__(self) -> None:
        self.server: uvicorn.Server | None = None
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        _on_stop_signals(lambda number, frame: self._loop.call_soon_threadsafe(self._stop))

    def _stop(self) -> None:
        if self.server is not None:
            self.server.should_exit = True
        elif self._task is not None:
            self._task.cancel()


def spare_collector() -> None:
    """Let the garbage collector do what a server that is about to serve needs, and no more."""
    # What exists now lives as long as we do: it need not be looked at again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


class _Server(uvicorn.Server):
    """uvicorn's server, with our end: connections are drained before it closes them."""

    def __init__(
        self, config: uvicorn.Config, parley: Parley, on_ready: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self.servers = []
        self._parley = parley
        self._front = front_protocol(parley.door)
        self._on_ready = on_ready

    def _protocol(self) -> asyncio.Protocol:
        return self._front(self.config, self.server_state, self.lifespan.state)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # As uvicorn's own, which gives a TLS handshake a minute.
        loop, config = asyncio.get_running_loop(), self.config
        for sock in sockets or []:
            server = await loop.create_server(
                self._protocol,
                sock=sock,
                ssl=config.ssl,
                ssl_handshake_timeout=_TLS_TIMEOUT if config.ssl else None,
                backlog=BACKLOG,
            )
            self.servers.append(server)
        self.started = True
        spare_collector()
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


def _uvicorn_config(settings: Settings, parley: Parley, tls: ServerTls | None) -> uvicorn.Config:
    return uvicorn.Config(
        parley.asgi,
        ws=websocket_protocol({PATH: parley.server.engine}),
        lifespan="off",
        log_config=None,
        # Its start and stop are told by our own lines.
        log_level=None if settings.log_level == "debug" else "warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom to believe is decided by TRUSTED_PROXIES
        timeout_graceful_shutdown=2,
        ssl_context_factory=(lambda _, __: tls.context) if tls else None,
    )


def _server_tls(settings: Settings) -> ServerTls | None:
    if not settings.tls_cert_file:
        return None
    return ServerTls(
        TlsFile("TLS_CERT_FILE", settings.tls_cert_file),
        TlsFile("TLS_KEY_FILE", settings.tls_key_file),
    )


def _renew_certificate(tls: ServerTls, number: int, frame: FrameType | None) -> None:
    problems = tls.renew()
    for problem in problems:
        text = "SIGHUP: the certificate stays as it was"
        tell(logger, Incident.CERTIFICATE_REFUSED, text, reason=problem, always=True)
    if not problems:
        logger.info("SIGHUP: connections from now on get the certificate as it is now")


def _say_how_to_restart(number: int, frame: FrameType | None) -> None:
    logger.warning("SIGHUP replaces workers one by one, and there is but one: restart instead")


def _on_stop_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _exit(signal_number: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
