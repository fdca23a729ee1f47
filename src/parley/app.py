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
from parley.chat.auth import Authenticator, Claims
from parley.chat.delivery import Delivery
from parley.chat.listing import Listing
from parley.chat.ports import Clock
from parley.chat.receipts import Receipts
from parley.chat.repair import Intervals
from parley.chat.revocations import Revocations
from parley.chat.service import ChatService, Hooks, Limits
from parley.chat.watched import WatchedStore
from parley.gateway import Gateway, Rules, encode_message, encode_received
from parley.incidents import Incident, tell
from parley.metrics import Metrics
from parley.metrics_merge import AllWorkers
from parley.metrics_tables import Incidents, StoreCalls, TableSizes
from parley.settings import Settings
from parley.socketio.addresses import Proxies
from parley.socketio.door import Bounds, Door, room_to_wait
from parley.socketio.endpoint import PollingEndpoint
from parley.socketio.limits import Rate, RateLimits, Rates
from parley.socketio.options import Options
from parley.socketio.peer_server import PeerServer
from parley.socketio.server import Server
from parley.web import asyncapi, health, page
from parley.web.headers import UsualHeaders

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
        self.door = Door(Bounds(max_waiting=room_to_wait()), self.server.engine.deadlines)
        self.metrics = metrics = Metrics()
        self._delivery = Delivery(
            store,
            bus,
            encode_message,
            presence=self._node.presence if self._node else None,
            intervals=Intervals(connected=settings.inbox_check_interval),
            max_devices=settings.user_max_connections,
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
        self._revocations = Revocations(backends.revocations, bus, clock)
        rules = Rules(
            Authenticator(backends.keys, _claims(settings), self._revocations, clock),
            self._service,
            Listing(store, max_chats=settings.list_max_chats, max_bytes=settings.list_max_bytes),
            self._delivery,
            receipts,
        )
        self._gateway = extras.make_gateway(self.server, rules, clock)
        metrics.watch(self.server.engine, self._gateway, rules, bus)
        metrics.watch_door(self.door)
        metrics.look_inside(
            Incidents(self.server.engine),
            StoreCalls(store),
            TableSizes(
                self.server.engine.sizes,
                self._delivery.sizes,
                lambda: {"followers": receipts.followers, "lists": rules.listing.under_way},
                lambda: {"key_waiters": backends.keys.waiting},
                lambda: {"revocations": len(self._revocations)},
                bus.sizes,
                *((self._node.sizes,) if self._node else ()),
            ),
        )
        self._all_workers: AllWorkers | None = None
        if self._node is not None and settings.workers > 1:
            self._all_workers = AllWorkers(metrics, place.worker, self._node)
        http = Starlette(
            routes=[
                Route(PATH, PollingEndpoint(self.server.engine)),
                asyncapi.route(__version__, settings.message_max_length),
                *health.routes(
                    self.server.engine, store, bus, (self._all_workers or metrics).exposition
                ),
                *(page.routes(extras.ready_users) if settings.page else [Route("/", _index)]),
            ]
        )
        # It would lead to whatever address the request's Host header names.
        http.router.redirect_slashes = False
        self.asgi = UsualHeaders(http)

    async def start(self) -> None:
        """Begin what goes on by itself; before connections are accepted."""
        self._delivery.start()
        await self._revocations.start(self._gateway.check_users)
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
        await self._revocations.close()
        await self._delivery.shut_down()
        self.server.engine.close()


def _claims(settings: Settings) -> Claims:
    return Claims(
        user=settings.jwt_user_claims,
        issuers=settings.jwt_issuer,
        audiences=settings.jwt_audience,
        leeway=settings.jwt_leeway,
    )


def _options(settings: Settings) -> Options:
    return Options(
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        connect_timeout=settings.connect_timeout,
        max_payload=settings.max_payload,
        max_outbox=settings.outbox_max_bytes,
        max_in_flight=settings.max_in_flight,
        limits=_limits(settings),
        origins=frozenset(settings.allowed_origins),
        encrypted=bool(settings.tls_cert_file),
        keep_handshake=False,
    )


def _limits(settings: Settings) -> RateLimits:
    return RateLimits(
        connection=Rates(
            Rate(settings.rate_connection_events, settings.rate_connection_burst),
            _bytes(settings.rate_connection_bytes),
        ),
        account=Rates(
            Rate(settings.rate_user_events, settings.rate_user_burst),
            _bytes(settings.rate_user_bytes),
        ),
        address=Rates(
            Rate(settings.rate_address_events, settings.rate_address_burst),
            _bytes(settings.rate_address_bytes),
        ),
        account_connects=Rate(settings.rate_user_connects, settings.rate_user_connects_burst),
        address_connects=Rate(settings.rate_address_connects, settings.rate_address_connects_burst),
        patience=settings.rate_patience,
        proxies=Proxies(settings.trusted_proxies, settings.trusted_proxy_header),
    )


def _bytes(per_second: int) -> Rate:
    return Rate(per_second, 2 * per_second)


async def _index(request: Request) -> Response:
    return PlainTextResponse(
        "This is Parley, a chat server. Connect with a Socket.IO client; "
        "/healthz, /readyz and /metrics tell how it does.\n"
    )
