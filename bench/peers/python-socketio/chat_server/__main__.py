"""Runs the server until it gets SIGTERM: ``python -m chat_server``."""

from __future__ import annotations

import socket
from typing import Any

import asyncpg
import socketio
import uvicorn
import uvloop

from .events import Events
from .settings import Settings
from .store import Store


class Server(uvicorn.Server):
    """Says when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"listening on port {self.config.port}", flush=True)


async def _keep(_connection: Any) -> None:
    """No statement here leaves a trace in the session: clearing it would be a needless request."""


async def main(settings: Settings) -> None:
    """Serve until a signal ends it."""
    database = settings.database
    pool = asyncpg.create_pool(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        database=database.name,
        reset=_keep,
    )
    async with pool:
        server = socketio.AsyncServer(
            async_mode="asgi",
            client_manager=socketio.AsyncRedisManager(settings.redis_url),
            cors_allowed_origins="*",
        )
        Events(server, Store(pool), settings.secret)
        config = uvicorn.Config(
            socketio.ASGIApp(server),
            host="127.0.0.1",
            port=settings.port,
            http="httptools",
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        await Server(config).serve()


if __name__ == "__main__":
    uvloop.run(main(Settings.read()))
