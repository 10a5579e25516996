"""Promises against rows, as they are defined: one subject after the other, whole in memory."""

from collections import Counter
from collections.abc import Iterable

from msgspec import UNSET

from scenarios.evidence.mail import Mail
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.subject import Subject
from scenarios.verdict.data.effect import Effect, effect_of
from scenarios.verdict.data.invariants import AskedSubject, Case, Invariants, SubjectRows, Sums
from scenarios.verdict.data.values import Known, Source, sent_by, violation_of
from scenarios.verdict.model import Integrity, Violation


class Ledger:
    """Collects what was asked; then checks it against what is there.

    Memory: a few hundred bytes for each subject, however many requests there are besides.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._asked: dict[str, AskedSubject] = {}
        self._sent: dict[str, list[Known]] = {}

    def add(self, outcome: Outcome) -> None:
        """Take note of one request; the order does not matter."""
        subject, endpoint = outcome.subject, outcome.endpoint
        if subject is None:
            return
        known = sent_by(outcome)
        if known is not None:
            self._sent.setdefault(subject, []).append(known)
        manifest = self._manifest
        if endpoint == manifest.subject_endpoint:
            asked = self._entry(subject, outcome)
            effect = effect_of(outcome)
            asked.effects.add(effect)
            asked.possible += effect is not Effect.FAIL
        elif endpoint == manifest.confirm_endpoint:
            asked = self._entry(subject, outcome)
            asked.confirmed |= effect_of(outcome) is Effect.OK

    def check(
        self, before: Iterable[Subject], after: Iterable[Subject], mails: Iterable[Mail]
    ) -> Integrity:
        """Check every invariant for every subject that was asked about, there before or there now.

        Args:
            before: the rows before the first request.
            after: the rows after the run had settled.
            mails: what reached the mailbox.
        """
        before, after = tuple(before), tuple(after)
        rows_before, rows_after = _rows(before), _rows(after)
        has_states = any(state is not None for row in rows_after.values() for state in row.states)
        invariants = Invariants(self._manifest, has_states=has_states)
        recipients = Counter(mail.recipient for mail in mails)
        sums = Sums()
        for subject in sorted({*self._asked, *rows_before, *rows_after, *recipients}):
            case = Case(
                subject,
                self._asked.get(subject),
                rows_before.get(subject, SubjectRows()),
                rows_after.get(subject, SubjectRows()),
                recipients[subject],
            )
            sums.add(case, invariants.check(case))
        sums.add_values(*self._values(before, after))
        return sums.integrity()

    def _values(
        self, before: Iterable[Subject], after: Iterable[Subject]
    ) -> tuple[int, list[Violation]]:
        known = {subject: list(sent) for subject, sent in self._sent.items()}
        for rows, source in ((before, Source.BEFORE), (after, Source.AFTER)):
            for row in rows:
                if row.value is not UNSET:
                    known.setdefault(row.subject, []).append(Known(source, row.value))
        compared = {
            subject: all_of_it
            for subject, all_of_it in sorted(known.items())
            if {one.source for one in all_of_it} > {Source.AFTER}
        }
        found = (violation_of(subject, all_of_it) for subject, all_of_it in compared.items())
        return len(compared), [one for one in found if one is not None]

    def _entry(self, subject: str, outcome: Outcome) -> AskedSubject:
        asked = self._asked.get(subject)
        if asked is None:
            asked = self._asked[subject] = AskedSubject()
        asked.requests.append((outcome.planned_ns, outcome.request_id, outcome.served_by))
        return asked


def _rows(subjects: Iterable[Subject]) -> dict[str, SubjectRows]:
    rows: dict[str, SubjectRows] = {}
    shared: dict[
        str | None, SubjectRows
    ] = {}  # nearly all subjects have one row in one of few states
    for subject in subjects:
        row = rows.get(subject.subject)
        if row is None:
            rows[subject.subject] = shared.setdefault(
                subject.state, SubjectRows(1, (subject.state,))
            )
        else:
            states = tuple(sorted((*row.states, subject.state), key=str))
            rows[subject.subject] = SubjectRows(row.count + 1, states)
    return rows
