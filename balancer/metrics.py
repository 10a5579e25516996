"""Prometheus metrics, made from the counters at the moment of the scrape."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from balancer.backend import State
from balancer.control_plane import ControlPlane
from balancer.statistics import BOUNDS, Counters


class _Snapshot(Collector):
    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    def collect(self) -> Iterator[Metric]:
        yield from self._backends()
        yield from self._balancer()

    def _backends(self) -> Iterator[Metric]:
        labels = ["backend", "version"]
        requests = CounterMetricFamily(
            "hitless_backend_requests",
            "Attempts that ended, by status class.",
            labels=[*labels, "status"],
        )
        failures = CounterMetricFamily(
            "hitless_backend_failures", "Attempts without a complete response.", labels=labels
        )
        latency = HistogramMetricFamily(
            "hitless_backend_latency_seconds",
            "From the request to its response's end.",
            labels=labels,
        )
        flight = GaugeMetricFamily(
            "hitless_backend_in_flight", "Exchanges under way.", labels=labels
        )
        tunnels = GaugeMetricFamily(
            "hitless_backend_tunnels", "Upgraded connections.", labels=labels
        )
        weight = GaugeMetricFamily(
            "hitless_backend_weight", "Its share of new requests.", labels=labels
        )
        ejected = GaugeMetricFamily(
            "hitless_backend_ejected", "Out by live traffic.", labels=labels
        )
        state = GaugeMetricFamily(
            "hitless_backend_state", "1 for its state.", labels=[*labels, "state"]
        )
        for one in self._control.pool.backends:
            names = [one.id, one.version]
            for n in range(1, 6):
                requests.add_metric([*names, f"{n}xx"], one.counters.statuses[n])
            failures.add_metric(names, one.counters.failed_transport)
            latency.add_metric(names, *_histogram(one.counters))
            flight.add_metric(names, one.in_flight + one.inherited)
            tunnels.add_metric(names, one.tunnels)
            weight.add_metric(names, one.weight)
            ejected.add_metric(names, one.ejected)
            for each in State:
                if each is not State.REMOVED:
                    state.add_metric([*names, each.value], one.state is each)
        yield from (requests, failures, latency, flight, tunnels, weight, ejected, state)

    def _balancer(self) -> Iterator[Metric]:
        plane = self._control.data_plane
        counters = plane.counters
        requests = CounterMetricFamily(
            "hitless_requests", "Exchanges that ended, by status class.", labels=["status"]
        )
        for n in range(1, 6):
            requests.add_metric([f"{n}xx"], counters.statuses[n])
        yield requests
        latency = HistogramMetricFamily(
            "hitless_latency_seconds", "From the request to its response's end."
        )
        latency.add_metric([], *_histogram(counters))
        yield latency
        for name, text, value in (
            ("failures", "Exchanges without a complete response.", counters.failed_transport),
            ("aborted", "Exchanges that the client gave up.", counters.aborted),
            ("retries", "Requests that were sent a second time.", plane.retries),
            ("reuse_losses", "Requests lost on a kept connection that must not be sent twice.",
             plane.reuse_losses),
            ("refused_connections", "Connections over a limit.", plane.refused_connections),
            ("access_log_dropped", "AccessRecord lines that the disk did not take.",
             plane.log.dropped if plane.log is not None else 0),
        ):  # fmt: skip
            yield CounterMetricFamily(f"hitless_{name}", text, value=value)
        for name, text, value in (
            ("in_flight", "Exchanges under way.", plane.in_flight),
            ("held", "Requests that wait for a backend.", len(plane.hold)),
            ("connections", "Open client connections.", len(plane.clients)),
        ):
            yield GaugeMetricFamily(f"hitless_{name}", text, value=value)


def _histogram(counters: Counters) -> tuple[list[tuple[str, float]], float]:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counters.buckets, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets, counters.latency_sum_ns / 1e9


def render(control: ControlPlane) -> bytes:
    """Write all metrics in the text format, version 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(control))
    return generate_latest(registry)
