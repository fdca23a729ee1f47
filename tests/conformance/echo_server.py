"""A small application on ``parley.socketio`` alone.

It behaves as the protocols' official test suites expect of a server:
Socket.IO on ``/socket.io/``, and beneath it plain Engine.IO on ``/engine.io/``,
where every message is sent back as it came.

    python tests/conformance/echo_server.py --port 3000
"""

from __future__ import annotations

import argparse
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from parley.socketio.endpoint import PollingEndpoint
from parley.socketio.engine import Engine
from parley.socketio.events import Event
from parley.socketio.namespaces import Socket
from parley.socketio.options import Options
from parley.socketio.protocol import MESSAGE, CloseReason
from parley.socketio.server import Server
from parley.socketio.session import Session
from parley.socketio.websocket import websocket_protocol

OPTIONS = Options(
    ping_interval=0.3,
    ping_timeout=0.2,
    max_payload=1_000_000,
    connect_timeout=1.0,
    origins=frozenset("*"),
)


class Echo:
    """Sends every Engine.IO message back."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def on_text(self, message: bytes) -> None:
        self._session.send(MESSAGE + message)

    def on_binary(self, message: bytes) -> None:
        self._session.send_binary(message)

    def on_excess(self, message: bytes, wait: int) -> None:
        """Never: there are no limits."""

    def on_close(self, reason: CloseReason) -> None:
        """There is nothing to release."""


def socketio_server() -> Server:
    server = Server(OPTIONS)
    for name in ("/", "/custom"):
        namespace = server.namespace(name)
        namespace.on_connect(greet)
        namespace.on("message")(send_back)
        namespace.on("message-with-ack")(acknowledge)
    return server


def greet(socket: Socket, auth: dict[str, Any]) -> None:
    socket.emit("auth", auth)


def send_back(socket: Socket, event: Event) -> None:
    socket.emit("message-back", *event.args())


def acknowledge(socket: Socket, event: Event) -> None:
    event.ack(*event.args())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--host", default="localhost", help="by default both of its addresses")
    args = parser.parse_args()
    engines = {"/socket.io/": socketio_server().engine, "/engine.io/": Engine(OPTIONS, Echo)}
    app = Starlette(routes=[Route(path, PollingEndpoint(engines[path])) for path in engines])
    uvicorn.run(
        app,
        host=args.host,
        port=args.port,
        ws=websocket_protocol(engines),
        lifespan="off",
        log_level="warning",
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
