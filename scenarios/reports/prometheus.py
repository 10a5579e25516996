"""The verdict as Prometheus text, for a node exporter's textfile collector or a push gateway."""

from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from scenarios.verdict.model import Cause, Verdict

Sample = tuple[Mapping[str, str], float | None]


def metrics(verdict: Verdict) -> bytes:
    """Gauges of one run, each with its scenario and strategy; what is unknown is left out."""
    registry = CollectorRegistry()
    run = {"scenario": verdict.scenario, "strategy": verdict.strategy}
    for name, text, samples in _families(verdict):
        known = [(labels, value) for labels, value in samples if value is not None]
        if not known:
            continue
        names = [*run, *known[0][0]]
        gauge = Gauge(f"hitless_{name}", text, names, registry=registry)
        for labels, value in known:
            gauge.labels(**run, **labels).set(value)
    return generate_latest(registry)


def _by_cause(causes: Iterable[Cause]) -> list[Sample]:
    """One sample an id, also where some requests of an id are explained and some are not."""
    counts: Counter[str] = Counter()
    for cause in causes:
        counts[cause.cause] += cause.count
    return [({"cause": cause}, float(count)) for cause, count in counts.items()]


def _families(verdict: Verdict) -> Iterable[tuple[str, str, list[Sample]]]:
    requests, rollout, integrity = verdict.requests, verdict.rollout, verdict.integrity
    yield (
        "verdict",
        "1 for the verdict of the run.",
        [
            ({"verdict": word}, float(word == verdict.verdict))
            for word in ("pass", "fail", "invalid")
        ],
    )
    yield (
        "predicted",
        "1 if the run took place in virtual time, so that nothing was measured.",
        [({}, float(verdict.predicted))],
    )
    yield (
        "requests",
        "Planned requests by outcome; slow requests also count as ok.",
        [
            ({"outcome": name}, float(getattr(requests, name)))
            for name in ("ok", "failed", "slow", "undispatched")
        ],
    )
    yield (
        "failures",
        "Failed requests by cause.",
        _by_cause(verdict.causes),
    )
    control = verdict.control
    yield (
        "release_failures",
        "Failed requests that the control run did not have, or not as often.",
        [({}, None if control is None or not control.usable else float(control.own))],
    )
    yield (
        "slow_requests",
        "Requests slower than the objective by cause.",
        _by_cause(verdict.slow_causes),
    )
    locks, budget = verdict.locks, verdict.budget
    yield (
        "lock_wait_longest_seconds",
        "The longest time that the application waited for a database lock.",
        [({}, locks.longest or 0.0 if locks.watched else None)],
    )
    yield (
        "error_budget_spent_ratio",
        "Failed requests divided by the number that the objective allows in this run.",
        [({}, None if budget is None else budget.spent)],
    )
    availability = verdict.availability
    yield (
        "availability_ratio",
        "Share of the sent requests that succeeded.",
        [({}, availability.request_based)],
    )
    yield (
        "failure_rate_upper_95",
        "Exact one-sided 95 % upper bound of the failure rate.",
        [({}, availability.failure_rate_upper_95)],
    )
    yield (
        "downtime_seconds",
        "Lower bound of the total time in which requests failed.",
        [({}, sum(window.seconds_lower for window in verdict.downtime))],
    )
    latency = verdict.latency
    yield (
        "latency_seconds",
        "Latency from the planned time.",
        [
            ({"quantile": quantile}, value)
            for quantile, value in (
                ("0.5", latency.p50),
                ("0.99", latency.p99),
                ("0.999", latency.p999),
                ("1", latency.max),
            )
        ],
    )
    yield (
        "rollout_seconds",
        "How long the release took.",
        [({"outcome": rollout.outcome}, rollout.seconds)],
    )
    yield (
        "rollout_floor_seconds",
        "The shortest time in which any orchestrator could have finished the release.",
        [({}, rollout.floor_seconds)],
    )
    yield (
        "integrity_violations",
        "Subjects for which a promise about the data does not hold.",
        [({}, None if integrity.status == "unchecked" else float(integrity.violation_count))],
    )
    yield (
        "schedule_lag_p99_seconds",
        "How late the load generator sent requests, 99th percentile.",
        [({}, verdict.harness.schedule_lag_p99)],
    )
