"""A look inside one server: what its tables hold, what went wrong, what it rests on.

Besides :mod:`parley.metrics`, which counts what it does for its clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from parley import incidents
from parley.chat.watched import OPERATIONS, SECONDS, WatchedStore
from parley.socketio.engine import Engine

Sizes = Callable[[], Mapping[str, int]]
"""Tells how much is in each internal table of one part; always by the same names."""

_BOUNDS: Final = [*map(floatToGoString, SECONDS), "+Inf"]


class TableSizes(Collector):
    """Internal tables: when all clients have left, each is as it was before the first."""

    def __init__(self, *parts: Sizes) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "parley_table_entries", "Entries of an internal table.", labels=["table"]
        )
        for sizes in self._parts:
            for table, size in sizes().items():
                family.add_metric([table], size)
        yield family
        yield GaugeMetricFamily(
            "parley_tasks", "Tasks of the event loop.", len(asyncio.all_tasks())
        )


class Incidents(Collector):
    """What went wrong in this process, and which requests it refused."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(
            "parley_incidents", "Drops, retries, refusals and failures, by kind.", labels=["kind"]
        )
        for incident, total in incidents.totals().items():
            family.add_metric([incident.value], total)
        yield family
        refused = CounterMetricFamily(
            "parley_requests_refused",
            "HTTP requests and handshakes that were refused.",
            labels=["status", "transport"],
        )
        for (status, transport), total in self._engine.refused.items():
            refused.add_metric([str(int(status)), transport], total)
        yield refused


class StoreCalls(Collector):
    """What was asked of the store."""

    def __init__(self, store: WatchedStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        store = self._store
        failures = CounterMetricFamily(
            "parley_store_failures",
            "Calls that the store did not answer, or not in time.",
            labels=["operation"],
        )
        seconds = HistogramMetricFamily(
            "parley_store_call_seconds", "Duration of calls of the store.", labels=["operation"]
        )
        for operation in OPERATIONS:
            failures.add_metric([operation], store.failures[operation])
            durations = store.durations[operation]
            buckets = list(zip(_BOUNDS, accumulate(durations.counts), strict=True))
            seconds.add_metric([operation], buckets, durations.sum)
        yield failures
        yield seconds
        yield GaugeMetricFamily(
            "parley_store_calls_under_way",
            "Calls that the store has yet to answer.",
            store.under_way,
        )
