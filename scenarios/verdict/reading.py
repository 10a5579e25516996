"""What a judgement takes from each kind of evidence while it reads it, as a whole or in parts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Self

from scenarios.evidence.evidence import Evidence
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.mail import Mail
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.scratch import Scratch
from scenarios.evidence.subject import Subject
from scenarios.verdict.causes.surroundings import Surroundings
from scenarios.verdict.columns.column import merged
from scenarios.verdict.columns.requests import RequestColumns
from scenarios.verdict.data.facts import Facts
from scenarios.verdict.data.integrity import Ledger
from scenarios.verdict.measures.answer_shapes import AnswerTally, SchemaChanges
from scenarios.verdict.measures.exchanges import Exchanges
from scenarios.verdict.measures.locking import LockLedger
from scenarios.verdict.measures.reconnecting import StreamTally
from scenarios.verdict.measures.tally import RequestTally


@dataclass(frozen=True, slots=True)
class RequestReading:
    """Requests, with all that is counted while they pass.

    Attributes:
        columns: the requests.
        tally: what a verdict counts.
        ledger: what was asked about the data.
        waiting: which of them were delayed by locks.
        streams: what became of clients that reconnect.
        answers: what JSON answers looked like.
    """

    columns: RequestColumns
    tally: RequestTally
    ledger: Ledger
    waiting: LockLedger
    streams: StreamTally
    answers: AnswerTally

    @classmethod
    def of(
        cls, manifest: Manifest, around: Surroundings, requests: Iterable[Outcome], scratch: Scratch
    ) -> Self:
        """Read requests."""
        columns = RequestColumns(scratch, around.skew.version_of)
        found = cls(
            columns,
            RequestTally(manifest, around.timeline, columns, scratch),
            Ledger(manifest, columns, scratch),
            LockLedger(around),
            StreamTally(columns),
            AnswerTally(columns, SchemaChanges.of(around.timeline)),
        )
        for batch in columns.reading(requests):
            found.tally.add(batch)
            found.ledger.add(batch)
            found.waiting.add_batch(batch)
            found.streams.add(batch)
            found.answers.add(batch)
        return found

    def merge(self, other: "RequestReading") -> None:
        """Add the requests that follow; the other must not be used again."""
        kinds = self.columns.merge(other.columns)
        self.tally.merge(other.tally)
        self.ledger.merge(other.ledger, kinds)
        self.waiting.merge(other.waiting)
        self.streams.merge(other.streams)
        self.answers.merge(other.answers)


@dataclass(frozen=True, slots=True)
class _Mailed:
    """Mails: whom they reached, and those that may have led to a failed request."""

    facts: Facts
    notes: list[Mail] = field(default_factory=list)

    def merge(self, other: "_Mailed") -> None:
        """Add the mails that follow; the other must not be used again."""
        self.facts.merge(other.facts)
        self.notes.extend(other.notes)


def count_requests(evidence: Evidence, around: Surroundings) -> RequestReading:
    """Read all requests."""
    manifest = evidence.manifest

    def take(requests: Iterable[Outcome], scratch: Scratch) -> RequestReading:
        return RequestReading.of(manifest, around, requests, scratch)

    shared = (manifest, around, around.timeline, around.skew.version_of)
    return merged(evidence.workers.read(evidence.requests, take, evidence.scratch, shared))


def read_rows(
    evidence: Evidence, rows: Iterable[Subject], when: Literal["before", "after"], ledger: Ledger
) -> Facts:
    """Read the rows that were there before or after the run."""

    def take(some: Iterable[Subject], scratch: Scratch) -> Facts:
        facts = Facts(scratch, ledger.known)
        facts.add_rows(some, when)
        return facts

    return merged(evidence.workers.read(rows, take, evidence.scratch))


def read_mails(evidence: Evidence, around: Surroundings, ledger: Ledger) -> Facts:
    """Read all mails; the surroundings take note of those that explain failed requests."""

    def take(mails: Iterable[Mail], scratch: Scratch) -> _Mailed:
        found = _Mailed(Facts(scratch, ledger.known))
        found.facts.add_mails(around.skew.reading(mails, found.notes))
        return found

    found = merged(evidence.workers.read(evidence.mails, take, evidence.scratch))
    around.skew.use_mails(found.notes)
    return found.facts


def read_exchanges(evidence: Evidence, tally: RequestTally) -> Exchanges:
    """Read the balancer's log; the lines of failed and slow requests are kept."""
    prefix = f"s{evidence.manifest.seed}-"
    wanted = {outcome.request_id for outcome in (*tally.failed, *tally.late)}

    def take(lines: Iterable[ExchangeRecord], scratch: Scratch) -> Exchanges:
        found = Exchanges(prefix, wanted, scratch)
        found.read(lines)
        return found

    return merged(evidence.workers.read(evidence.exchanges, take, evidence.scratch, (wanted,)))
