"""From the evidence of a run to its verdict."""

from collections import deque
from collections.abc import Container, Iterable, Iterator

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.event import Event
from scenarios.evidence.exchange import Exchange
from scenarios.evidence.locks import LockWait
from scenarios.evidence.mail import Mail
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.read import Read
from scenarios.evidence.server_log import ServerLine
from scenarios.evidence.subject import Subject
from scenarios.evidence.tick import Tick
from scenarios.verdict.causes.attribution import find_causes
from scenarios.verdict.causes.slowness import explain_slow
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.data.agreement import with_reads
from scenarios.verdict.data.integrity import Ledger
from scenarios.verdict.decision import Findings, check_objectives, decide
from scenarios.verdict.limits import limits_of
from scenarios.verdict.measures.budget import budget_of
from scenarios.verdict.measures.locking import LockLedger
from scenarios.verdict.measures.slo import (
    SLOT_SECONDS,
    Marks,
    Ordered,
    Window,
    availability_text,
    count_slots,
    downtime_windows,
    failure_rate_upper,
    merge_gap_ns,
    smallest_detectable_outage,
)
from scenarios.verdict.measures.tally import Tally
from scenarios.verdict.model import (
    Availability,
    Downtime,
    Integrity,
    Requests,
    Rollout,
    Slots,
    Verdict,
)
from scenarios.verdict.timeline import Timeline


def judge(  # noqa: PLR0917 - the kinds of evidence, in the order of the run's folder
    manifest: Manifest,
    outcomes: Iterable[Outcome],
    events: Iterable[Event],
    ticks: Iterable[Tick],
    mails: Iterable[Mail],
    before: Iterable[Subject] | None,
    after: Iterable[Subject] | None,
    access_log: Iterable[Exchange] = (),
    locks: Iterable[LockWait] | None = None,
    server_log: Iterable[ServerLine] = (),
    backends: Iterable[BackendChange] = (),
    reads: Iterable[Read] = (),
) -> Verdict:
    """Judge a run by its evidence; the same evidence in any order gives the same verdict.

    Each iterable is read once, and none of them is kept, so they may be files' lines.

    Args:
        manifest: what was run, and what it is judged by.
        outcomes: every planned request.
        events: the journal.
        ticks: the generator's account of itself.
        mails: what reached the users' mailbox.
        before: the rows before the first request; None if there is no database to read.
        after: the rows after the run had settled; None likewise.
        access_log: the balancer's log, if there is one.
        locks: the waits for locks; None if nobody looked.
        server_log: what Postgres logged, if that is known.
        backends: what the balancer made of its backends, if that is known.
        reads: the same reads through each replica, after the run.
    """
    timeline = Timeline(events)
    around = Surroundings(timeline, locks or (), server_log, backends, manifest.database)
    tally = Tally(manifest, timeline)
    ledger = Ledger(manifest)
    waiting = LockLedger(around)
    for outcome in around.reading(outcomes):
        tally.add(outcome)
        ledger.add(outcome)
        waiting.add(outcome)
    heard = around.skew.reading(mails)
    if before is None or after is None:
        deque(heard, maxlen=0)  # to their end: who mailed a link is asked later
        integrity = Integrity(status="unchecked")
    else:
        integrity = with_reads(ledger.check(before, after, heard), reads)
    total = tally.total()
    failed_ids = {outcome.request_id for outcome in tally.failed}
    exchanges: dict[str, Exchange] = {}
    contradictions = tally.contradictions(
        _keeping(access_log, failed_ids | {one.request_id for one in tally.late}, exchanges)
    )
    causes = find_causes(tally.failed, exchanges, around, tally.origin_ns)
    blocking = waiting.locks(watched=locks is not None, origin_ns=tally.origin_ns)
    requests = tally.all_marks().ordered()
    downtime = _downtime(requests, tally.origin_ns)
    findings = Findings(
        manifest=manifest,
        requests=total.requests(),
        causes=causes,
        integrity=integrity,
        harness=tally.harness(ticks),
        phases=tally.phases(),
        versions=tally.versions(),
        early_failures=tally.early_failures,
        contradictions=contradictions,
        longest_outage=max((window.seconds_lower for window in downtime), default=0.0),
        faults=sum(one.verb == "fault" and one.state == "completed" for one in timeline.events),
        locks=blocking,
        seconds=timeline.release_seconds,
        floor_seconds=timeline.floor_seconds,
        paced=total.paced,
    )
    checks = check_objectives(findings)
    word, reasons, doubts = decide(findings, checks)
    availability = _availability(requests, findings.requests, manifest.replicas)
    return Verdict(
        verdict=word,
        reasons=reasons,
        checks=checks,
        doubts=doubts,
        limits=tuple(
            limits_of(
                findings, availability, logged=not failed_ids or bool(failed_ids & exchanges.keys())
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
        origin_ns=tally.origin_ns,
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
        downtime_by_endpoint=_downtime_by_endpoint(tally.marks, tally.origin_ns),
        causes=findings.causes,
        integrity=integrity,
        harness=findings.harness,
        phases=findings.phases,
        versions=findings.versions,
        replay=manifest.replay,
        hitless=manifest.hitless,
        started_at=manifest.started_at,
        unattributed=sum(one.count for one in causes if one.confidence == "symptom"),
        slow_causes=find_causes(
            tally.late, exchanges, around, tally.origin_ns, explain=explain_slow
        ),
        locks=blocking,
        budget=budget_of(
            manifest.objectives.availability,
            findings.requests.ok + findings.requests.failed,
            findings.requests.failed,
            requests.span_ns / 1e9,
        ),
        users=tally.staying.users(requests, tally.origin_ns)
        if tally.staying
        else tally.users.users(requests),
    )


def _keeping(
    lines: Iterable[Exchange], wanted: Container[str], kept: dict[str, Exchange]
) -> Iterator[Exchange]:
    """The same lines; those that are wanted are kept by the way."""
    for line in lines:
        if line.request_id in wanted:
            kept[line.request_id] = line
        yield line


def _availability(requests: Ordered, counts: Requests, replicas: int) -> Availability:
    sent = counts.ok + counts.failed
    slots = count_slots(requests, int(SLOT_SECONDS * 1e9))
    seen = slots.good + slots.bad
    span = requests.span_ns / 1e9
    return Availability(
        text=availability_text(counts.ok, sent),
        request_based=counts.ok / sent if sent else None,
        time_based=slots.good / seen if seen else None,
        failure_rate_upper_95=failure_rate_upper(counts.failed, sent),
        smallest_detectable_outage_seconds=smallest_detectable_outage(sent, span),
        smallest_detectable_outage_one_replica_seconds=smallest_detectable_outage(
            sent, span, share=1 / max(replicas, 1)
        ),
        slots=Slots(seconds=SLOT_SECONDS, good=slots.good, bad=slots.bad, no_data=slots.no_data),
    )


def _downtime(requests: Ordered, origin_ns: int) -> tuple[Downtime, ...]:
    windows = downtime_windows(requests, merge_gap_ns(requests))
    return tuple(_window(window, origin_ns, None, None) for window in windows)


def _downtime_by_endpoint(
    marks: dict[tuple[str, str], Marks], origin_ns: int
) -> tuple[Downtime, ...]:
    found = []
    for (endpoint, connection), key_marks in sorted(marks.items()):
        requests = key_marks.ordered()
        for window in downtime_windows(requests, merge_gap_ns(requests)):
            found.append(_window(window, origin_ns, endpoint, connection))  # noqa: PERF401 - two loops read better
    return tuple(found)


def _window(
    window: Window, origin_ns: int, endpoint: str | None, connection: str | None
) -> Downtime:
    def at(at_ns: int | None) -> float | None:
        return None if at_ns is None else (at_ns - origin_ns) / 1e9

    bounded = window.before_ns is not None and window.after_ns is not None
    return Downtime(
        start=(window.first_ns - origin_ns) / 1e9,
        start_earliest=at(window.before_ns),
        end_lower=(window.last_ns - origin_ns) / 1e9,
        end_upper=at(window.after_ns),
        seconds_lower=(window.last_ns - window.first_ns) / 1e9,
        seconds_upper=((window.after_ns or 0) - (window.before_ns or 0)) / 1e9 if bounded else None,
        peak_error_ratio=window.peak,
        failed=window.failed,
        requests=window.requests,
        endpoint=endpoint,
        connection=connection,
    )
