"""What the server counts, as Prometheus reads it.

The hot paths keep plain integers of their own; they are gathered here when
somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from parley.chat.auth import Authenticator, Refusal
from parley.chat.ports import Bus
from parley.errors import ErrorCode
from parley.gateway import Gateway, Rules
from parley.socketio.door import Door
from parley.socketio.door import Refusal as DoorRefusal
from parley.socketio.engine import Engine
from parley.socketio.protocol import CloseReason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BATCH_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """One server's metrics."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._batch_sizes = _Distribution(
            "commit_batch_size", "Requests that were stored in one transaction.", _BATCH_SIZES
        )
        self._commit_seconds = _Distribution(
            "commit_seconds",
            "Time that one transaction took, from the server's point of view.",
            _SECONDS,
        )
        self._registry.register(self._batch_sizes)
        self._registry.register(self._commit_seconds)

    def on_commit(self, size: int, seconds: float) -> None:
        """A batch has been stored."""
        self._batch_sizes.add(size)
        self._commit_seconds.add(seconds)

    def watch(self, engine: Engine, gateway: Gateway, rules: Rules, bus: Bus) -> None:
        """Gather from these."""
        self._registry.register(_Totals(engine, gateway, rules))
        self._registry.register(_BusTotals(bus))
        self._registry.register(_TokenTotals(rules.authenticator))

    def watch_door(self, door: Door) -> None:
        """Gather from it, too."""
        self._registry.register(_DoorTotals(door))

    def look_inside(self, *collectors: Collector) -> None:
        """Gather from these too; see :mod:`parley.metrics_tables`."""
        for collector in collectors:
            self._registry.register(collector)

    def collect(self) -> Iterable[Metric]:
        """All metrics, as they are now."""
        return self._registry.collect()

    async def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _Distribution(Collector):
    """A histogram.  Adding to the library's own takes ten times as long."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        """``bounds``: the highest value of each bucket, ascending."""
        self._name = name
        self._text = text
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def collect(self) -> Iterator[Metric]:
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(f"parley_{self._name}", self._text, buckets, self._sum)


class _Totals(Collector):
    def __init__(self, engine: Engine, gateway: Gateway, rules: Rules) -> None:
        self._engine = engine
        self._gateway = gateway
        self._rules = rules

    def collect(self) -> Iterator[Metric]:
        engine, service, delivery = self._engine, self._rules.service, self._rules.delivery
        yield _gauge("connections", "Open sessions.", len(engine.sessions))
        yield _gauge("users", "Users with a connected device.", delivery.users)
        yield _gauge("commit_queue", "Requests waiting to be stored.", service.waiting)
        yield _counter("connections_opened", "Sessions opened.", engine.opened)
        yield _counter("connections_moved_in", "Sessions taken over from others.", engine.moved_in)
        yield _counter("messages_stored", "Chats stored.", service.stats.chats_stored)
        yield _counter("messages_pushed", "Chats pushed to devices.", delivery.pushed)
        received = service.stats.marked_received
        yield _counter("messages_received", "Receipts accepted, repeated ones too.", received)
        pushed = self._rules.receipts.pushed
        yield _counter("receipts_pushed", "Receipts told to senders' devices.", pushed)
        yield _counter("gaps_filled", "Reads of pushes that did not arrive.", delivery.gaps_filled)
        yield _counter(
            "outbox_overflows",
            "Clients disconnected because they did not read.",
            engine.closed[CloseReason.SLOW],
        )
        closed = CounterMetricFamily(
            "parley_connections_closed", "Sessions closed, by reason.", labels=["reason"]
        )
        for reason in CloseReason:
            closed.add_metric([reason.value], engine.closed[reason])
        yield closed
        yield from self._limited()
        events = CounterMetricFamily(
            "parley_events", "Events taken from clients, by name.", labels=["event"]
        )
        for name, total in self._gateway.events.items():
            events.add_metric([name], total)
        yield events
        errors = CounterMetricFamily(
            "parley_errors", "Errors answered to clients, by code.", labels=["code"]
        )
        for code, total in self._gateway.errors.items():
            errors.add_metric([code.value], total)
        yield errors

    def _limited(self) -> Iterator[Metric]:
        limiter, errors = self._engine.limiter, self._gateway.errors
        slowed = CounterMetricFamily(
            "parley_rate_slowed",
            "Times that a client was not read for a while, by the limit that it had reached.",
            labels=["limit"],
        )
        for limit, total in limiter.slowed.items():
            slowed.add_metric([limit], total)
        yield slowed
        refused = CounterMetricFamily(
            "parley_rate_limited", "Events and connections refused, by limit.", labels=["limit"]
        )
        for limit, total in limiter.refused.items():
            refused.add_metric([limit], total)
        refused.add_metric(["user_connections"], errors[ErrorCode.TOO_MANY_CONNECTIONS])
        yield refused


class _BusTotals(Collector):
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def collect(self) -> Iterator[Metric]:
        bus = self._bus
        yield _gauge(
            "bus_connected", "1 while pushes reach other nodes at once.", int(bus.connected)
        )
        yield _counter("bus_losses", "Times that the bus went away.", bus.losses)
        yield _counter("bus_dropped", "Pushes that the bus could not carry.", bus.dropped)
        yield _counter("bus_malformed", "Messages on the bus that are not ours.", bus.malformed)


class _TokenTotals(Collector):
    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    def collect(self) -> Iterator[Metric]:
        refused = CounterMetricFamily(
            "parley_tokens_refused",
            "Connects whose token was refused, by reason.",
            labels=["reason"],
        )
        for reason in Refusal:
            refused.add_metric([reason.value], self._authenticator.refusals[reason])
        yield refused
        keys = self._authenticator.keys
        yield _counter("jwks_fetches", "Times that JWT_JWKS_URL gave its keys.", keys.fetched)
        yield _counter("jwks_failures", "Times that JWT_JWKS_URL did not.", keys.failed)


class _DoorTotals(Collector):
    def __init__(self, door: Door) -> None:
        self._door = door

    def collect(self) -> Iterator[Metric]:
        door = self._door
        yield _gauge("connections_waiting", "Connections without a request.", door.waiting)
        refused = CounterMetricFamily(
            "parley_strangers_refused",
            "Connections closed, and requests refused, before they were looked at.",
            labels=["reason"],
        )
        for reason in DoorRefusal:
            refused.add_metric([reason.value], door.refused[reason])
        yield refused


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"parley_{name}", text, value)


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(f"parley_{name}", text, value)
