"""The judge as it is defined: each kind of evidence record by record, kept whole in memory.

The judge itself reads and counts in columns, and must reach the same verdict: its tests compare
the two. What is about single failed requests (the ladder of causes, the decision) is shared.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from importlib import import_module
from typing import Any
from unittest.mock import patch

from scenarios.evidence.evidence import Evidence
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.verdict import Judgement, judge
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.columns.requests import RequestColumns, Step, step_of
from scenarios.verdict.data.agreement import with_reads
from scenarios.verdict.jobs.summary import jobs_of
from scenarios.verdict.measures.answer_shapes import AnswerTally, SchemaChanges
from scenarios.verdict.measures.exchanges import HELD_NS
from scenarios.verdict.measures.locking import LockLedger
from scenarios.verdict.measures.reconnecting import StreamTally
from scenarios.verdict.model import Integrity
from scenarios.verdict.model.rescued import Rescued
from tests.support.by_rows.causes import Answers, AnswerTimes, Skew
from tests.support.by_rows.integrity import Ledger
from tests.support.by_rows.tally import RequestTally

_JUDGE: Any = import_module("scenarios.verdict.judge")


def judge_by_rows(evidence: Evidence) -> Judgement:
    """Judge a run as `judge` does, with one request after the other."""
    with patch.object(_JUDGE, "_read", _read):
        return judge(evidence)


class _Rescues:
    def __init__(self) -> None:
        self._retried = self._closed = self._held = 0

    def reading(self, lines: Iterable[ExchangeRecord]) -> Iterator[ExchangeRecord]:
        for line in lines:
            if line.status is not None and line.status < 500:
                self._retried += line.attempts > 1
                self._closed += line.attempts > 1 and line.resent
                self._held += line.wait_ns >= HELD_NS
            yield line

    def rescued(self, died: int) -> Rescued:
        return Rescued(retried=self._retried, closed=self._closed, held=self._held, died=died)


def _read(evidence: Evidence, _: object) -> Any:
    manifest, around = evidence.manifest, Surroundings.of(evidence)
    parts: Any = around  # its parts are replaced by those that are defined here
    skew, answers, times = Skew(around.timeline), Answers(), AnswerTimes()
    parts.skew, parts.answers, parts._answer_times = skew, answers, times
    tally, ledger = RequestTally(manifest, around.timeline), Ledger(manifest)
    waiting, sent = LockLedger(around), Counter[Step]()
    streams = StreamTally(RequestColumns(evidence.scratch, around.skew.version_of))
    looked = AnswerTally(
        RequestColumns(evidence.scratch, around.skew.version_of), SchemaChanges.of(around.timeline)
    )
    for outcome in evidence.requests:
        if outcome.dispatched:
            sent[step_of(outcome)] += 1
        skew.hear(outcome)
        if outcome.ok and outcome.served_by is not None:
            version = skew.version_of(outcome.served_by)
            if version is not None:
                answers.hear(outcome, version)
        if outcome.served_by is not None and outcome.first_byte_ns is not None:
            times.hear(outcome.served_by, outcome.first_byte_ns)
        streams.take((outcome,))
        looked.take(outcome, skew.version_of(outcome.served_by))
        tally.add(outcome)
        ledger.add(outcome)
        if outcome.ok or outcome.served_by is not None:
            waiting.add(outcome)
    integrity = _integrity(evidence, skew, ledger)
    exchanges: dict[str, ExchangeRecord] = {}
    rescues = _Rescues()
    bad = {outcome.request_id for outcome in (*tally.failed, *tally.late)}
    contradictions = tally.contradictions(
        _keeping(rescues.reading(evidence.exchanges), bad, exchanges)
    )
    requests = tally.all_marks().ordered()
    return _JUDGE._Read(
        manifest=manifest,
        tally=tally,
        requests=requests,
        users=tally.staying.users(requests, tally.origin_ns)
        if tally.staying
        else tally.users.users(requests),
        around=around,
        integrity=lambda: integrity,
        exchanges=exchanges,
        contradictions=lambda: contradictions,
        ticks=tuple(sorted(evidence.ticks, key=lambda tick: tick.at_ns)),
        waiting=waiting,
        rescues=rescues,
        watched=evidence.lock_waits is not None,
        heard=evidence.server_lines is not None,
        profiles=evidence.profiles,
        sent=sent,
        jobs=jobs_of(evidence, around.timeline, tally.origin_ns),
        streams=streams.streams(tally.origin_ns),
        answers=looked.answers(next(iter(manifest.versions), None)),
    )


def _integrity(evidence: Evidence, skew: Skew, ledger: Ledger) -> Integrity:
    before, after, mails = evidence.subjects_before, evidence.subjects_after, evidence.mails
    found = ledger.check(before or (), after or (), skew.reading(mails))
    if before is None or after is None:
        return Integrity(status="unchecked")
    return with_reads(found, evidence.reads)


def _keeping(
    lines: Iterable[ExchangeRecord], wanted: Container[str], kept: dict[str, ExchangeRecord]
) -> Iterator[ExchangeRecord]:
    for line in lines:
        if line.request_id in wanted:
            kept[line.request_id] = line
        yield line
