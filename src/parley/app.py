"""Puts the parts of one node together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from parley import __version__
from parley.backends import Backends, Place
from parley.chat.auth import Authenticator
from parley.chat.delivery import Delivery
from parley.chat.listing import Listing
from parley.chat.ports import Clock
from parley.chat.receipts import Receipts
from parley.chat.repair import Intervals
from parley.chat.service import ChatService, Hooks, Limits
from parley.chat.watched import WatchedStore
from parley.gateway import Gateway, Rules, encode_message, encode_received
from parley.incidents import Incident, tell
from parley.metrics import Metrics
from parley.metrics_merge import AllWorkers
from parley.metrics_tables import Incidents, StoreCalls, TableSizes
from parley.settings import Settings
from parley.socketio.endpoint import PollingEndpoint
from parley.socketio.options import Options
from parley.socketio.peer_server import PeerServer
from parley.socketio.server import Server
from parley.web import asyncapi, health, page

logger = logging.getLogger(__name__)

PATH: Final = "/socket.io/"


class Extras(NamedTuple):
    """What `parley dev` adds to a node."""

    ready_users: page.ReadyUsers | None = None
    """As whom the web page offers to log in."""
    make_gateway: Callable[..., Gateway] = Gateway
    """Is given what a gateway is made of."""


NO_EXTRAS: Final = Extras()


class Parley:
    """One node: everything between the store and the sockets."""

    def __init__(
        self,
        settings: Settings,
        place: Place,
        backends: Backends,
        clock: Clock,
        extras: Extras = NO_EXTRAS,
    ) -> None:
        store, bus, self._node = WatchedStore(backends.store), backends.bus, backends.node
        self._grace = settings.shutdown_grace
        self._stop_by: float | None = None
        """When the grace ends, in the loop's time; None before it has begun."""
        self.server = Server(
            _options(settings),
            node=self._node.name if self._node else "",
            peers=self._node.peers if self._node else None,
        )
        self.metrics = metrics = Metrics()
        self._delivery = Delivery(
            store,
            bus,
            encode_message,
            presence=self._node.presence if self._node else None,
            intervals=Intervals(connected=settings.inbox_check_interval),
        )
        receipts = Receipts(store, bus, encode_received)
        self._service = ChatService(
            store,
            self._delivery,
            receipts,
            clock,
            Limits(settings.message_max_length, settings.commit_queue_max),
            Hooks(self.server.engine.batch, metrics.on_commit),
        )
        rules = Rules(
            Authenticator(settings.jwt_secret_key, settings.jwt_user_claims, clock),
            self._service,
            Listing(store, max_chats=settings.list_max_chats, max_bytes=settings.list_max_bytes),
            self._delivery,
            receipts,
        )
        gateway = extras.make_gateway(self.server, rules, clock)
        metrics.watch(self.server.engine, gateway, rules, bus)
        metrics.look_inside(
            Incidents(self.server.engine),
            StoreCalls(store),
            TableSizes(
                self.server.engine.sizes,
                self._delivery.sizes,
                lambda: {"followers": receipts.followers},
                bus.sizes,
                *((self._node.sizes,) if self._node else ()),
            ),
        )
        self._all_workers: AllWorkers | None = None
        if self._node is not None and settings.workers > 1:
            self._all_workers = AllWorkers(metrics, place.worker, self._node)
        self.asgi = Starlette(
            routes=[
                Route(PATH, PollingEndpoint(self.server.engine)),
                asyncapi.route(__version__, settings.message_max_length),
                *health.routes(
                    self.server.engine, store, bus, (self._all_workers or metrics).exposition
                ),
                *(page.routes(extras.ready_users) if settings.page else [Route("/", _index)]),
            ]
        )

    async def start(self) -> None:
        """Begin what goes on by itself; before connections are accepted."""
        self._delivery.start()
        if self._node is not None:
            methods = {AllWorkers.METHOD: self._all_workers.own} if self._all_workers else {}
            await self._node.start(PeerServer(self.server.engine), methods)

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
            text = "the store did not answer in time: what waited for it is given up"
            tell(logger, Incident.STOP_CUT_SHORT, text, reason="the grace is over")
        await self._delivery.shut_down()
        self.server.engine.deadlines.close()


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


async def _index(request: Request) -> Response:
    return PlainTextResponse(
        "This is Parley, a chat server. Connect with a Socket.IO client; "
        "/healthz, /readyz and /metrics tell how it does.\n"
    )
