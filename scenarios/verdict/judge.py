"""From the evidence of a run to its verdict."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from scenarios.evidence.control_run import ControlRun
from scenarios.evidence.evidence import Evidence
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.tick import Tick
from scenarios.verdict.causes.attribution import Attributed, attribute_all, causes_of
from scenarios.verdict.causes.cache_changes import cache_changes
from scenarios.verdict.causes.cluster_advice import advise_cluster, cluster_causes
from scenarios.verdict.causes.contrasts import contrasted
from scenarios.verdict.causes.control_comparison import (
    BesideControl,
    compare,
    control_run_of,
    kinds_of,
)
from scenarios.verdict.causes.drain import CAUSE as DRAIN_EXCEEDED
from scenarios.verdict.causes.drain import advise_drain
from scenarios.verdict.causes.quotations import background
from scenarios.verdict.causes.service_calls import ServiceCalls
from scenarios.verdict.causes.starts import failed_starts
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.causes.undrained import CAUSE, advise, lag_seconds, late
from scenarios.verdict.columns.requests import RequestColumns, Step
from scenarios.verdict.data.agreement import with_reads
from scenarios.verdict.data.integrity import Ledger
from scenarios.verdict.decision import Findings, decide
from scenarios.verdict.jobs.summary import jobs_of
from scenarios.verdict.limits import limits_of
from scenarios.verdict.measures.budget import budget_of, users_of
from scenarios.verdict.measures.downtime import availability_of, downtime_by_endpoint, downtime_of
from scenarios.verdict.measures.exchanges import Exchanges
from scenarios.verdict.measures.locking import LockLedger
from scenarios.verdict.measures.pooler_log import complaints
from scenarios.verdict.measures.probed import probed_of
from scenarios.verdict.measures.replica_ends import CUT_SHORT, replica_ends_of
from scenarios.verdict.measures.slo import Ordered
from scenarios.verdict.measures.tally import RequestTally
from scenarios.verdict.model import (
    Advice,
    AnswerComparison,
    Integrity,
    Jobs,
    Rollout,
    Streams,
    Users,
    Verdict,
)
from scenarios.verdict.model.pooler import PoolerComplaint
from scenarios.verdict.objectives import check_objectives
from scenarios.verdict.reading import count_requests, read_exchanges, read_mails, read_rows

LONG: Final = 100_000
"""So many records take longer to count than it takes to begin another process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict, with what it was reached from, for those who show it.

    Attributes:
        verdict: what the run means.
        failed: the failed requests with their causes, by planned time.
        slow: those that succeeded but took longer than the latency objective, likewise.
        around: the journal, and what else went on.
        ticks: the load generator's account of itself, by time.
        as_control: of a control run, what a release is compared with; its folder is not named yet.
    """

    verdict: Verdict
    failed: tuple[Attributed, ...]
    slow: tuple[Attributed, ...]
    around: Surroundings
    ticks: tuple[Tick, ...]
    as_control: ControlRun | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """All evidence, read to its end.

    Attributes:
        tally: the requests, counted.
        requests: those that were sent, in order.
        integrity: says what became of the data; may be asked once, as `contradictions`.
        exchanges: the balancer's lines of failed and slow requests, by request id.
        contradictions: says how many answers of the balancer the load generator's record denies.
        waiting: the waits for locks.
        users: availability as users saw it.
        rescues: what the balancer saved.
        watched: whether anybody looked for those.
        heard: whether the database server's log was read.
        profiles: by version, what was found out about its server before the run.
        sent: how many requests of each step were sent.
        jobs: what became of the jobs; None if the run did not look at them.
        streams: what became of clients that reconnect.
        answers: what JSON answers looked like.
        pooler: what the pooler complained of.
        counted: how many requests have no line each.
    """

    manifest: Manifest
    tally: RequestTally
    requests: Ordered
    around: Surroundings
    integrity: Callable[[], Integrity]
    exchanges: dict[str, ExchangeRecord]
    contradictions: Callable[[], int]
    ticks: tuple[Tick, ...]
    waiting: LockLedger
    rescues: Exchanges
    users: Users
    watched: bool
    heard: bool
    profiles: Mapping[str, bytes]
    sent: Counter[Step]
    jobs: Jobs | None
    streams: Streams
    answers: AnswerComparison
    pooler: tuple[PoolerComplaint, ...] = ()
    counted: int = 0


def judge(evidence: Evidence) -> Judgement:
    """Judge a run by its evidence; the same evidence in any order gives the same verdict.

    Each kind of evidence is read once and to its end. Of the requests, mails, rows and exchanges
    only those are kept that failed or slow requests are explained by.

    Raises:
        EvidenceError: the evidence comes from files, and one of them is damaged.
    """
    with ExitStack() as meanwhile:
        with _without_collection():
            read = _read(evidence, meanwhile)
        return _judged(read)


def _judged(read: _Read) -> Judgement:
    slow_seconds = read.manifest.objectives.latency_seconds
    failed, slow = (
        attribute_all(outcomes, read.exchanges, read.around, slow_seconds)
        for outcomes in (read.tally.failed, read.tally.late)
    )
    comparison = compare(read.manifest.control, failed, slow, read.sent)
    kinds = kinds_of((*failed, *slow)) if read.manifest.role == "control" else None
    failed, slow = comparison.excuse(contrasted(failed, read.around), slow)
    for one in failed:  # only now is it known whom they asked
        if one.failure.outcome.served_by is None:
            read.waiting.add(one.failure.outcome, one.failure.replica)
    verdict = _verdict(read, failed, slow, comparison)
    return Judgement(
        verdict=verdict,
        failed=failed,
        slow=slow,
        around=read.around,
        ticks=read.ticks,
        as_control=None if kinds is None else control_run_of(kinds, read.sent, verdict),
    )


@contextmanager
def _without_collection() -> Iterator[None]:
    """Without Python's search for circles: millions of records are made here, and none has one."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _read(evidence: Evidence, meanwhile: ExitStack) -> _Read:
    """Read all evidence.

    Args:
        evidence: what is read.
        meanwhile: closes when the verdict is reached; until then work may go on.
    """
    around = Surroundings.of(evidence)
    counted = count_requests(evidence, around)
    columns, tally = counted.columns, counted.tally
    lines = tuple(evidence.counted)
    if lines:
        columns.count(lines)
        tally.count(lines)
    around.use(columns)
    around.cache = cache_changes(evidence.cache_forms, around.timeline, tally.origin_ns)
    around.calls = _calls(evidence, tally)
    around.calls.use(columns)
    integrity = meanwhile.enter_context(_integrity(evidence, around, counted.ledger))
    exchanges = read_exchanges(evidence, tally)
    contradictions = meanwhile.enter_context(
        evidence.workers.beside(
            lambda _: exchanges.contradictions(columns),
            evidence.scratch,
            long=len(columns) >= LONG,
        )
    )
    requests = tally.ordered()
    return _Read(
        manifest=evidence.manifest,
        tally=tally,
        requests=requests,
        users=tally.staying.users(requests, tally.origin_ns)
        if tally.staying
        else users_of(columns, requests, evidence.scratch),
        around=around,
        integrity=integrity,
        exchanges=exchanges.kept,
        contradictions=contradictions,
        ticks=tuple(sorted(evidence.ticks, key=lambda tick: tick.at_ns)),
        waiting=counted.waiting,
        rescues=exchanges,
        watched=evidence.lock_waits is not None,
        heard=evidence.server_lines is not None,
        profiles=evidence.profiles,
        sent=_sent(columns),
        jobs=jobs_of(evidence, around.timeline, tally.origin_ns),
        streams=counted.streams.streams(tally.origin_ns),
        pooler=complaints(evidence.pooler_messages, tally.origin_ns),
        answers=counted.answers.answers(next(iter(evidence.manifest.versions), None)),
        counted=sum(line.total for line in lines),
    )


def _calls(evidence: Evidence, tally: RequestTally) -> ServiceCalls:
    """Read the calls of services; those of failed and slow requests are kept."""
    manifest = evidence.manifest
    return ServiceCalls(
        manifest.services,
        evidence.service_calls,
        prefix=f"s{manifest.seed}-",
        wanted={outcome.request_id for outcome in (*tally.failed, *tally.late)},
    )


def _sent(columns: RequestColumns) -> Counter[Step]:
    """How many requests of each step were sent."""
    sent: Counter[Step] = Counter()
    for kind in columns.kinds:
        if kind.dispatched:
            sent[kind.step] += kind.count
    return sent


@contextmanager
def _integrity(
    evidence: Evidence, around: Surroundings, ledger: Ledger
) -> Iterator[Callable[[], Integrity]]:
    before, after = evidence.subjects_before, evidence.subjects_after
    # To their ends in any case: who mailed a link is asked later, and damage must be noticed.
    ledger.add_facts(read_rows(evidence, before or (), "before", ledger))
    ledger.add_facts(read_rows(evidence, after or (), "after", ledger))
    ledger.add_facts(read_mails(evidence, around, ledger))
    reads = tuple(evidence.reads)
    if before is None or after is None:
        yield lambda: Integrity(status="unchecked")
        return
    long = len(ledger) >= LONG
    with evidence.workers.beside(ledger.check, evidence.scratch, long=long) as checked:
        yield lambda: with_reads(checked(), reads)


def _with_background(read: _Read, failed: Sequence[Attributed]) -> Integrity:
    """What became of the data; where it is damaged, with the errors of background work."""
    integrity = read.integrity()
    if integrity.status != "violated":
        return integrity
    logged = background((one.failure for one in failed), read.around.logged)
    return msgspec.structs.replace(integrity, logged=logged)


def _verdict(
    read: _Read,
    failed: Sequence[Attributed],
    slow: Sequence[Attributed],
    comparison: BesideControl,
) -> Verdict:
    manifest, tally, origin_ns = read.manifest, read.tally, read.tally.origin_ns
    timeline = read.around.timeline
    downtime = downtime_of(read.requests, origin_ns)
    findings = Findings(
        manifest=manifest,
        requests=tally.requests(),
        causes=(
            *causes_of(failed, origin_ns),
            *(
                failed_starts(read.around, origin_ns)
                if manifest.outcome != manifest.expected_outcome
                else ()
            ),
            *(
                cluster_causes(read.around.cluster, origin_ns)
                if manifest.outcome != manifest.expected_outcome
                else ()
            ),
        ),
        integrity=_with_background(read, failed),
        harness=tally.harness(read.ticks),
        phases=tally.phases(),
        versions=tally.versions(),
        early_failures=tally.early_failures - comparison.early(timeline.rollout_ns),
        contradictions=read.contradictions(),
        longest_outage=max(
            (
                window.seconds_lower
                for window in downtime_of(comparison.without(read.requests), origin_ns)
            ),
            default=0.0,
        ),
        control=comparison.control,
        counted=read.counted,
        faults=sum(one.verb == "fault" and one.state == "completed" for one in timeline.events),
        locks=read.waiting.locks(watched=read.watched, origin_ns=origin_ns),
        fresh_starts=tuple(one for one in timeline.events if one.verb == "fresh_start"),
        step_effects=tuple(one for one in timeline.events if one.verb == "step_effect"),
        seconds=timeline.release_seconds,
        floor_seconds=timeline.floor_seconds,
        paced=tally.paced,
        slow_causes=causes_of(slow, origin_ns),
        starved=read.around.machine.total(),
        stalled=read.around.stalled(),
        unsettled=read.around.unsettled(),
        rescued=read.rescues.rescued(
            sum(one.died_ns is not None for one in timeline.lives.values())
        ),
        replica_ends=replica_ends_of(
            read.around,
            Counter(
                one.failure.replica
                for one in failed
                if one.finding.cause in CUT_SHORT
                and one.failure.replica is not None
                and _under_way(one)
            ),
            origin_ns,
        ),
        jobs=read.jobs,
        streams=read.streams,
        answers=read.answers,
    )
    checks = check_objectives(findings)
    word, reasons, doubts = decide(findings, checks)
    availability = availability_of(read.requests, findings.requests, manifest.replicas)
    logged = not failed or any(one.failure.exchange is not None for one in failed)
    latency = tally.latency()
    return Verdict(
        verdict=word,
        reasons=reasons,
        checks=checks,
        doubts=doubts,
        limits=tuple(
            limits_of(
                findings,
                availability,
                logged=logged,
                heard=read.heard,
                unmatched=read.around.server_errors.unmatched,
                cluster=read.around.cluster,
            )
        ),
        scenario=manifest.scenario,
        strategy=manifest.strategy,
        platform=manifest.platform,
        router=manifest.router,
        seed=manifest.seed,
        replicas=manifest.replicas,
        rate=manifest.rate,
        existing_rows=manifest.existing_rows,
        interrupted=manifest.interrupted,
        seconds=tally.at(tally.end_ns),
        origin_ns=origin_ns,
        rollout=Rollout(
            outcome=manifest.outcome,
            expected=manifest.expected_outcome,
            reason=manifest.outcome_reason,
            seconds=findings.seconds,
            floor_seconds=findings.floor_seconds,
        ),
        requests=findings.requests,
        availability=availability,
        latency=latency,
        downtime=downtime,
        downtime_by_endpoint=downtime_by_endpoint(tally.failing_endpoints(), origin_ns),
        causes=findings.causes,
        integrity=findings.integrity,
        harness=findings.harness,
        phases=findings.phases,
        versions=findings.versions,
        replay=manifest.replay,
        hitless=manifest.hitless,
        started_at=manifest.started_at,
        unattributed=sum(one.count for one in findings.causes if one.confidence == "symptom"),
        slow_causes=findings.slow_causes,
        replica_ends=findings.replica_ends,
        probed=probed_of(read.profiles, manifest, latency.max or 0.0),
        rescued=findings.rescued,
        locks=findings.locks,
        budget=budget_of(
            manifest.objectives.availability,
            findings.requests.ok + findings.requests.failed,
            findings.requests.failed,
            read.requests.span_ns / 1e9,
        ),
        users=read.users,
        predicted=manifest.predicted,
        persona=manifest.persona,
        termination=manifest.termination,
        protocols=manifest.protocols,
        handling=manifest.handling,
        advice=(*_advice(failed, manifest, tally), *advise_cluster(failed, read.around.cluster)),
        control=comparison.control,
        jobs=read.jobs,
        streams=read.streams,
        services=read.around.calls.services,
        cache=read.around.cache,
        answers=read.answers,
        pooler=read.pooler,
    )


def _under_way(one: Attributed) -> bool:
    """Whether a request was under way when its replica ended; one that met a pod later was not."""
    return one.failure.met is None or lag_seconds(one.failure) is None


def _advice(
    failed: Sequence[Attributed], manifest: Manifest, tally: RequestTally
) -> tuple[Advice, ...]:
    """What would have covered the requests that met stopped replicas, or were cut by a drain."""
    how = manifest.termination
    if how is None:
        return ()
    met = (late(one.failure) for one in failed if one.finding.cause == CAUSE)
    cut = [one.failure for one in failed if one.finding.cause == DRAIN_EXCEEDED]
    return (
        *advise([one for one in met if one is not None], how),
        *advise_drain(cut, tally.longest_ns() if cut else {}, how.drain_timeout_seconds),
    )
