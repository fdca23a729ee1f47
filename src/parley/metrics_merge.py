"""One page of metrics for all workers of a machine: whichever is asked, answers for all.

Each sample is labelled with its worker's number.  Sums and rates over workers
are for Prometheus to make.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from parley.errors import BackendAway
from parley.incidents import Incident, tell
from parley.metrics import Metrics
from parley.socketio.peers import PeerGone, PeerUnreachable

logger = logging.getLogger(__name__)

LABEL: Final = "worker"
_TIMEOUT: Final = 2.0
"""Seconds that another worker has to answer."""


class _Family(msgspec.Struct, frozen=True, array_like=True):
    name: str
    documentation: str
    type: str
    samples: list[tuple[str, dict[str, str], float]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Family]).decode


def pack(families: Iterable[Metric]) -> bytes:
    """One worker's metrics, to be given to the worker that was asked."""
    return _encode(
        [
            _Family(
                family.name,
                family.documentation,
                family.type,
                [(sample.name, sample.labels, sample.value) for sample in family.samples],
            )
            for family in families
        ]
    )


def merge(packed: Mapping[str, bytes]) -> bytes:
    """The metrics of several workers, by number, in Prometheus's text format.

    What :func:`pack` did not make, such as another version's, is left out.
    """
    merged: dict[str, Metric] = {}
    for worker, page in sorted(packed.items()):
        for family in _families(worker, page):
            metric = merged.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            for name, labels, value in family.samples:
                metric.add_sample(name, {**labels, LABEL: worker}, value)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Fixed(merged.values()))
    return generate_latest(registry)


class Siblings(Protocol):
    """The other workers of this machine."""

    async def siblings(self) -> list[str]:
        """Their names.  Raises BackendAway."""
        ...

    async def ask(self, node: str, method: str, payload: bytes) -> bytes:
        """What a method of one of them returns.  Raises PeerGone and PeerUnreachable."""
        ...


class AllWorkers:
    """The metrics of this worker, and of its siblings."""

    METHOD: Final = "metrics"
    """The name under which siblings ask for :meth:`own`."""

    def __init__(self, metrics: Metrics, number: int, siblings: Siblings) -> None:
        self._metrics = metrics
        self._number = number
        self._siblings = siblings

    async def own(self, _: bytes) -> bytes:
        """This worker's, for a sibling."""
        return _encode_page(_Page(str(self._number), pack(self._metrics.collect())))

    async def exposition(self) -> bytes:
        """All workers' metrics in Prometheus's text format; who doesn't answer is left out."""
        try:
            names = await self._siblings.siblings()
        except BackendAway as exc:
            text = "only one worker's metrics are shown"
            tell(logger, Incident.METRICS_MISSING, text, reason=exc, subject="registry")
            names = []
        pages = [self._siblings.ask(name, self.METHOD, b"") for name in names]
        pages.append(self.own(b""))
        packed: dict[str, bytes] = {}
        for answer in await asyncio.gather(*map(_within_time, pages)):
            if answer is not None:
                page = _decode_page(answer)
                packed[page.worker] = page.families
        return merge(packed)


async def _within_time(page: Coroutine[Any, Any, bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await page
    except (PeerGone, PeerUnreachable, TimeoutError) as exc:
        text, reason = "a worker's metrics are not shown", str(exc) or type(exc).__name__
        tell(logger, Incident.METRICS_MISSING, text, reason=reason, subject="call")
        return None


class _Page(msgspec.Struct, frozen=True, array_like=True):
    worker: str
    families: bytes


_encode_page = msgspec.msgpack.Encoder().encode
_decode_page = msgspec.msgpack.Decoder(_Page).decode


def _families(worker: str, page: bytes) -> list[_Family]:
    try:
        return _decode(page)
    except msgspec.DecodeError as exc:
        text = f"the metrics of worker {worker} can't be read"
        tell(logger, Incident.METRICS_MISSING, text, reason=exc, subject="page")
        return []


class _Fixed(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
