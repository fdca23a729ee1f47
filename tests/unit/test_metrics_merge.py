"""Metrics of several workers on one page."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from parley.metrics_merge import merge, pack


def worker(sent: int) -> bytes:
    registry = CollectorRegistry()
    counter = Counter("sent", "Sent so far.", ["kind"], registry=registry)
    counter.labels("chat").inc(sent)
    Gauge("open", 'Open "now".', registry=registry).set(sent * 10)
    Histogram("seconds", "Took.", buckets=(1, 2), registry=registry).observe(sent)
    return pack(registry.collect())


def samples(page: bytes) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_every_sample_tells_its_worker() -> None:
    found = samples(merge({"1": worker(1), "2": worker(2)}))
    assert found["sent_total"] == {
        (("kind", "chat"), ("worker", "1")): 1,
        (("kind", "chat"), ("worker", "2")): 2,
    }
    assert found["open"] == {(("worker", "1"),): 10, (("worker", "2"),): 20}
    assert found["seconds_bucket"][(("le", "1.0"), ("worker", "2"))] == 0
    assert found["seconds_bucket"][(("le", "2.0"), ("worker", "2"))] == 1


def test_every_family_is_described_once() -> None:
    page = merge({"1": worker(1), "2": worker(2)}).decode()
    assert page.count("# TYPE sent_total counter") == 1
    assert page.count("# HELP open") == 1


def test_something_else_is_left_out() -> None:
    found = samples(merge({"1": b"\x93hello", "2": worker(2)}))
    assert found["open"] == {(("worker", "2"),): 20}
