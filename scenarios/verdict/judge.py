"""From the evidence of a run to its verdict."""

from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from scenarios.evidence.evidence import Evidence
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.tick import Tick
from scenarios.verdict.causes.attribution import Attributed, attribute_all, causes_of
from scenarios.verdict.causes.contrasts import contrasted
from scenarios.verdict.causes.drain import CAUSE as DRAIN_EXCEEDED
from scenarios.verdict.causes.drain import advise_drain
from scenarios.verdict.causes.quotations import background
from scenarios.verdict.causes.starts import failed_starts
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.causes.undrained import CAUSE, advise, late
from scenarios.verdict.data.agreement import with_reads
from scenarios.verdict.data.integrity import Ledger
from scenarios.verdict.decision import Findings, check_objectives, decide
from scenarios.verdict.limits import limits_of
from scenarios.verdict.measures.budget import budget_of
from scenarios.verdict.measures.downtime import availability_of, downtime_by_endpoint, downtime_of
from scenarios.verdict.measures.locking import LockLedger
from scenarios.verdict.measures.replica_ends import replica_ends_of
from scenarios.verdict.measures.rescues import Rescues
from scenarios.verdict.measures.slo import Ordered
from scenarios.verdict.measures.tally import RequestTally
from scenarios.verdict.model import Advice, Integrity, Rollout, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict, with what it was reached from, for those who show it.

    Attributes:
        verdict: what the run means.
        failed: the failed requests with their causes, by planned time.
        slow: those that succeeded but took longer than the latency objective, likewise.
        around: the journal, and what else went on.
        ticks: the load generator's account of itself, by time.
    """

    verdict: Verdict
    failed: tuple[Attributed, ...]
    slow: tuple[Attributed, ...]
    around: Surroundings
    ticks: tuple[Tick, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """All evidence, read to its end.

    Attributes:
        tally: the requests, counted.
        requests: those that were sent, in order.
        integrity: what became of the data.
        exchanges: the balancer's lines of failed and slow requests, by request id.
        contradictions: answers of the balancer that the load generator's record denies.
        waiting: the waits for locks.
        rescues: what the balancer saved.
        watched: whether anybody looked for those.
        heard: whether the database server's log was read.
    """

    manifest: Manifest
    tally: RequestTally
    requests: Ordered
    around: Surroundings
    integrity: Integrity
    exchanges: dict[str, ExchangeRecord]
    contradictions: int
    ticks: tuple[Tick, ...]
    waiting: LockLedger
    rescues: Rescues
    watched: bool
    heard: bool


def judge(evidence: Evidence) -> Judgement:
    """Judge a run by its evidence; the same evidence in any order gives the same verdict.

    Each kind of evidence is read once and to its end. Of the requests, mails, rows and exchanges
    only those are kept that failed or slow requests are explained by.

    Raises:
        EvidenceError: the evidence comes from files, and one of them is damaged.
    """
    read = _read(evidence)
    slow_seconds = read.manifest.objectives.latency_seconds
    failed, slow = (
        attribute_all(outcomes, read.exchanges, read.around, slow_seconds)
        for outcomes in (read.tally.failed, read.tally.late)
    )
    failed = contrasted(failed, read.around)
    for one in failed:  # only now is it known whom they asked
        if one.failure.outcome.served_by is None:
            read.waiting.add(one.failure.outcome, one.failure.replica)
    return Judgement(
        verdict=_verdict(read, failed, slow),
        failed=failed,
        slow=slow,
        around=read.around,
        ticks=read.ticks,
    )


def _read(evidence: Evidence) -> _Read:
    manifest, around = evidence.manifest, Surroundings.of(evidence)
    tally, ledger = RequestTally(manifest, around.timeline), Ledger(manifest)
    waiting = LockLedger(around)
    for outcome in around.reading(evidence.requests):
        tally.add(outcome)
        ledger.add(outcome)
        if outcome.ok or outcome.served_by is not None:
            waiting.add(outcome)
    integrity = _integrity(evidence, around, ledger)
    exchanges: dict[str, ExchangeRecord] = {}
    rescues = Rescues()
    bad = {outcome.request_id for outcome in (*tally.failed, *tally.late)}
    contradictions = tally.contradictions(
        _keeping(rescues.reading(evidence.exchanges), bad, exchanges)
    )
    return _Read(
        manifest=manifest,
        tally=tally,
        requests=tally.all_marks().ordered(),
        around=around,
        integrity=integrity,
        exchanges=exchanges,
        contradictions=contradictions,
        ticks=tuple(sorted(evidence.ticks, key=lambda tick: tick.at_ns)),
        waiting=waiting,
        rescues=rescues,
        watched=evidence.lock_waits is not None,
        heard=evidence.server_lines is not None,
    )


def _integrity(evidence: Evidence, around: Surroundings, ledger: Ledger) -> Integrity:
    before, after = evidence.subjects_before, evidence.subjects_after
    mails = around.skew.reading(evidence.mails)
    if before is None or after is None:
        # To their ends all the same: who mailed a link is asked later, and damage must be noticed.
        for records in (mails, before or (), after or (), evidence.reads):
            deque(records, maxlen=0)
        return Integrity(status="unchecked")
    return with_reads(ledger.check(before, after, mails), evidence.reads)


def _keeping(
    lines: Iterable[ExchangeRecord], wanted: Container[str], kept: dict[str, ExchangeRecord]
) -> Iterator[ExchangeRecord]:
    """The same lines; those that are wanted are kept by the way."""
    for line in lines:
        if line.request_id in wanted:
            kept[line.request_id] = line
        yield line


def _with_background(read: _Read, failed: Sequence[Attributed]) -> Integrity:
    """What became of the data; where it is damaged, with the errors of background work."""
    if read.integrity.status != "violated":
        return read.integrity
    logged = background((one.failure for one in failed), read.around.logged)
    return msgspec.structs.replace(read.integrity, logged=logged)


def _verdict(read: _Read, failed: Sequence[Attributed], slow: Sequence[Attributed]) -> Verdict:
    manifest, tally, origin_ns = read.manifest, read.tally, read.tally.origin_ns
    timeline, total = read.around.timeline, read.tally.total()
    downtime = downtime_of(read.requests, origin_ns)
    findings = Findings(
        manifest=manifest,
        requests=total.requests(),
        causes=(
            *causes_of(failed, origin_ns),
            *(
                failed_starts(read.around, origin_ns)
                if manifest.outcome != manifest.expected_outcome
                else ()
            ),
        ),
        integrity=_with_background(read, failed),
        harness=tally.harness(read.ticks),
        phases=tally.phases(),
        versions=tally.versions(),
        early_failures=tally.early_failures,
        contradictions=read.contradictions,
        longest_outage=max((window.seconds_lower for window in downtime), default=0.0),
        faults=sum(one.verb == "fault" and one.state == "completed" for one in timeline.events),
        locks=read.waiting.locks(watched=read.watched, origin_ns=origin_ns),
        seconds=timeline.release_seconds,
        floor_seconds=timeline.floor_seconds,
        paced=total.paced,
        slow_causes=causes_of(slow, origin_ns),
        starved=read.around.machine.total(),
        stalled=read.around.stalled(),
        rescued=read.rescues.rescued(
            sum(one.died_ns is not None for one in timeline.lives.values())
        ),
        replica_ends=replica_ends_of(
            read.around,
            Counter(
                one.failure.replica
                for one in failed
                if one.finding.kind == "lifecycle" and one.failure.replica is not None
            ),
            origin_ns,
        ),
    )
    checks = check_objectives(findings)
    word, reasons, doubts = decide(findings, checks)
    availability = availability_of(read.requests, findings.requests, manifest.replicas)
    logged = not failed or any(one.failure.exchange is not None for one in failed)
    return Verdict(
        verdict=word,
        reasons=reasons,
        checks=checks,
        doubts=doubts,
        limits=tuple(limits_of(findings, availability, logged=logged, heard=read.heard)),
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
        latency=total.latency(tally.slowest()),
        downtime=downtime,
        downtime_by_endpoint=downtime_by_endpoint(tally.marks, origin_ns),
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
        rescued=findings.rescued,
        locks=findings.locks,
        budget=budget_of(
            manifest.objectives.availability,
            findings.requests.ok + findings.requests.failed,
            findings.requests.failed,
            read.requests.span_ns / 1e9,
        ),
        users=tally.staying.users(read.requests, origin_ns)
        if tally.staying
        else tally.users.users(read.requests),
        persona=manifest.persona,
        termination=manifest.termination,
        handling=manifest.handling,
        advice=_advice(failed, manifest, tally),
    )


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
        *advise_drain(cut, tally.longest_ns, how.drain_timeout_seconds),
    )
