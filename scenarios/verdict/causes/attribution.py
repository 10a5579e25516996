"""The causes of a run's failed requests: each has one, and each cause has its evidence."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.outcome import Outcome
from scenarios.verdict.causes import lock_queue
from scenarios.verdict.causes.exchange_rules import KEEP_ALIVE_RACE
from scenarios.verdict.causes.failure import Failure, Finding
from scenarios.verdict.causes.ladder import contributing, explain_failed
from scenarios.verdict.causes.quotations import fleet, headline, healthy, proxies, quotation
from scenarios.verdict.causes.slowness import explain_slow
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.causes.undrained import CAUSE as UNDRAINED
from scenarios.verdict.causes.undrained import lag_seconds, told, undrained
from scenarios.verdict.model import Cause, CauseEvidence, CauseKind, Confidence, FailedRequest
from scenarios.verdict.timeline import Timeline

EXAMPLES = 3
_ROOTS = frozenset({"statement", "lock", "database", "lifecycle", "application", "mixed_fleet"})
"""Kinds of causes for which health checks take replicas out."""

MOST_IDS = 1000
"""So many requests of a cause are listed by their ids; its count tells of all."""

_WAYS = {
    "served": "a request that succeeded on version {}",
    "mailed": "a link that version {} had mailed",
    "answered": "a request that followed from an answer of version {}",
}


@dataclass(frozen=True, slots=True)
class Attributed:
    """A request that failed or was slow, with its cause.

    Attributes:
        failure: the request, joined with what else is known about it.
        finding: its cause.
        contributing: what else may have had a part: see `model.CauseEvidence`.
        faults: those of them that are faults which the run made, by their names.
        excused: whether it does not count against the release, because the control run had such
            failures as often.
    """

    failure: Failure
    finding: Finding
    contributing: tuple[str, ...]
    faults: tuple[str, ...]
    excused: bool = False


def attributed(
    outcome: Outcome, exchange: ExchangeRecord | None, around: Surroundings, slow_seconds: float
) -> Attributed | None:
    """Find the cause of one request; None if it neither failed nor was slow.

    Args:
        outcome: the request.
        exchange: the balancer's line of it, if it has one.
        around: the journal, and what else went on; it must have heard of every request.
        slow_seconds: the latency objective.
    """
    if outcome.ok and not outcome.slower_than(slow_seconds):
        return None
    failure = Failure.join(outcome, exchange, around)
    if outcome.ok:
        finding = explain_slow(failure)
        parts = contributing(failure, finding)
    else:
        finding, parts = explain_failed(failure)
    faults = around.faults(failure.replica, *failure.span)
    return Attributed(failure, finding, tuple(parts), tuple(dict.fromkeys(faults)))


def attribute_all(
    outcomes: Iterable[Outcome],
    exchanges: Mapping[str, ExchangeRecord],
    around: Surroundings,
    slow_seconds: float,
) -> tuple[Attributed, ...]:
    """Find the causes of requests that failed or were slow; by planned time.

    Args:
        outcomes: the requests, in any order.
        exchanges: the balancer's lines of them, by request id; may be empty.
        around: the journal, and what else went on; it must have heard of every request.
        slow_seconds: the latency objective.
    """
    found = (
        attributed(outcome, exchanges.get(outcome.request_id), around, slow_seconds)
        for outcome in sorted(outcomes, key=lambda one: (one.planned_ns, one.request_id))
    )
    return tuple(one for one in found if one is not None)


def causes_of(requests: Iterable[Attributed], origin_ns: int) -> tuple[Cause, ...]:
    """The causes of these requests, most frequent first, with the evidence of each.

    Requests with the same symptom of which some are explained and some are not are two causes, so
    that what is unattributed is counted exactly.

    Args:
        requests: the requests, by planned time.
        origin_ns: the instant 0.0.
    """
    groups: dict[tuple[str, Confidence, CauseKind], list[Attributed]] = {}
    requests = tuple(requests)
    for one in requests:
        finding = one.finding
        key = finding.cause, finding.confidence, finding.kind
        groups.setdefault(key, []).append(one)
    causes = [_cause(group, origin_ns) for group in groups.values()]
    causes.sort(key=lambda one: (-one.count, one.cause, one.confidence, one.kind))
    return tuple(_roots_first(causes, requests))


def _roots_first(causes: Sequence[Cause], requests: Iterable[Attributed]) -> list[Cause]:
    """The causes; one that took the fleet out comes before the lack of a backend it led to.

    That is a cause that began earlier, on a replica that was out of service at the first failure
    for want of a backend.
    """
    lacking = next((one.failure for one in requests if one.finding.kind == "no_backend"), None)
    if lacking is None:
        return list(causes)
    # Who was drained or stopped is out by the order of the release, and for no failure.
    out = {one.replica for one in lacking.around.fleet_at(lacking.at_ns) if not one.ordered}
    first = min(one.evidence.first for one in causes if one.kind == "no_backend")
    roots = [
        one
        for one in causes
        if one.kind in _ROOTS and one.evidence.first < first and out & set(one.evidence.replicas)
    ]
    effects = [one for one in causes if one.kind == "no_backend"]
    if not roots:
        return list(causes)
    rest = [one for one in causes if one not in roots and one not in effects]
    return [*roots, *sorted([*effects, *rest], key=lambda one: -one.count)]


def _cause(group: Sequence[Attributed], origin_ns: int) -> Cause:
    finding, failures = group[0].finding, [one.failure for one in group]
    timeline = failures[0].timeline
    outcomes = [failure.outcome for failure in failures]
    met = undrained(failures) if finding.cause == UNDRAINED else None
    facts = (
        _lacking(failures) or _locked(failures) or _closed(finding),
        told(met) if met else None,
        _kept(timeline) if finding.cause == KEEP_ALIVE_RACE else None,
        proxies(failures),
        _cached(failures[0].around) if finding.kind == "mixed_fleet" else None,
        quotation(failures),
        healthy(failures),
        fleet(failures, origin_ns),
    )
    note = "; ".join(fact for fact in facts if fact) or None
    return Cause(
        cause=finding.cause,
        title=headline(finding, failures),
        confidence=finding.confidence,
        kind=finding.kind,
        count=len(failures),
        excused=sum(one.excused for one in group),
        evidence=CauseEvidence(
            requests=tuple(outcome.request_id for outcome in outcomes[:MOST_IDS]),
            first=(outcomes[0].planned_ns - origin_ns) / 1e9,
            last=(outcomes[-1].planned_ns - origin_ns) / 1e9,
            replicas=count(failure.replica for failure in failures),
            versions=count(failure.version for failure in failures),
            endpoints=count(outcome.endpoint for outcome in outcomes),
            connections=count(outcome.connection for outcome in outcomes),
            steps=count(timeline.step_at(failure.at_ns) for failure in failures),
            schemas=count(timeline.schema_at(failure.at_ns) for failure in failures),
            examples=tuple(_example(failure, origin_ns) for failure in failures[:EXAMPLES]),
            contributing=count(name for one in group for name in one.contributing),
            faults=count(name for one in group for name in one.faults),
            undrained=met,
            note=note,
        ),
    )


def _kept(timeline: Timeline) -> str | None:
    """What a run found out about the keep-alive timeouts of the server and of the router."""
    return next((one.error for one in timeline.events if one.verb == "keep_alive"), None)


def _cached(around: Surroundings) -> str | None:
    """Which keys of the store changed their form, where versions do not work side by side."""
    return "; ".join(one.sentence for one in around.cache[:EXAMPLES]) or None


def _locked(failures: Sequence[Failure]) -> str | None:
    """Whose lock most of them waited for, if they waited for locks at all, as a chain."""
    queues: Counter[str] = Counter()
    longest, fleet = 0.0, 0
    for failure in failures:
        blocked = failure.around.blocked(failure.replica, *failure.span)
        if blocked is None and failure.refused:
            blocked = failure.around.blocked_fleet(*failure.span)
            fleet += blocked is not None
        if blocked is None or blocked.wait.root is None:
            continue
        queues[lock_queue.told(blocked.wait)] += 1
        longest = max(longest, blocked.seconds)
    if not queues:
        return None
    (queue, number), *_ = sorted(queues.items(), key=lambda item: (-item[1], item[0]))
    taken = (
        f". {fleet:,} of them met no available backend: all replicas had failed their health "
        "checks while their sessions waited so"
        if fleet
        else ""
    )
    return f"{number:,} of them waited up to {longest:.2f} s for {queue}{taken}"


def _lacking(failures: Sequence[Failure]) -> str | None:
    """Which version lacks what which other one serves or hands out, the most frequent first."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        lack, outcome = failure.lack, failure.outcome
        if lack is None:
            continue
        asked = f"version {lack.version} answered {outcome.status} to {outcome.endpoint}"
        pairs = lacking.setdefault((asked, _WAYS[lack.how].format(lack.other)), [])
        pairs.append(f"{outcome.request_id} by {lack.led_by}" if lack.led_by else "")
    if not lacking:
        return None
    ways = sorted(lacking.items(), key=lambda item: (-len(item[1]), item[0]))
    several = len(ways) > 1
    said = [
        (f"{len(pairs):,} of them: " if several else "") + f"{asked}, {way}{_some(pairs)}"
        for (asked, way), pairs in ways[:EXAMPLES]
    ]
    return (
        f"{'; '.join(said)}. In a mixed fleet, a version can get requests that only the other "
        "version serves"
    )


def _closed(finding: Finding) -> str | None:
    """What else closes a connection than the end of a replica, which is a cause of its own."""
    if finding.cause not in ("router:connection_terminated", "balancer:connection_terminated"):
        return None
    return (
        "an application that closes idle connections earlier than its router stops using them "
        "loses requests in this way (keep-alive timeouts)"
    )


def _some(pairs: Sequence[str]) -> str:
    """The first of the requests and of those that led to them, if they are known."""
    shown = [pair for pair in pairs if pair][:EXAMPLES]
    if not shown:
        return ""
    more = f" and {len(pairs) - len(shown):,} more" if len(pairs) > len(shown) else ""
    return f" ({', '.join(shown)}{more})"


def _example(failure: Failure, origin_ns: int) -> FailedRequest:
    outcome, exchange = failure.outcome, failure.exchange
    return FailedRequest(
        request_id=outcome.request_id,
        at=(outcome.planned_ns - origin_ns) / 1e9,
        seconds=outcome.latency_seconds,
        endpoint=outcome.endpoint,
        connection=outcome.connection,
        journey=outcome.journey,
        step=failure.timeline.step_at(failure.at_ns),
        schema=failure.timeline.schema_at(failure.at_ns),
        replica=failure.replica,
        version=failure.version,
        status=outcome.status,
        error=outcome.error,
        error_detail=outcome.error_detail,
        proxy_status=outcome.proxy_status,
        sqlstate=outcome.sqlstate,
        problem=outcome.problem,
        attempts=exchange.attempts if exchange else None,
        end=exchange.end if exchange else None,
        lag_seconds=lag_seconds(failure),
    )


def count(names: Iterable[str | None]) -> dict[str, int]:
    """How often each name occurs, most frequent first; None is left out."""
    counts = Counter(name for name in names if name is not None)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
