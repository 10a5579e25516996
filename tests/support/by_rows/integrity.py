"""Promises against rows, as they are defined: one subject after the other, whole in memory."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from scenarios.evidence.mail import Mail
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.subject import Subject
from scenarios.verdict.data.effect import Effect, effect_of
from scenarios.verdict.data.integrity import LISTED, TITLES
from scenarios.verdict.model import Integrity, Invariant, Violation


class _Asked:
    """What was asked about one subject."""

    __slots__ = ("confirmed", "effects", "possible", "requests")

    def __init__(self) -> None:
        self.effects: set[Effect] = set()
        self.confirmed = False
        self.possible = 0  # requests that may have taken effect
        self.requests: list[tuple[int, str, str | None]] = []


@dataclass(frozen=True, slots=True)
class _Row:
    """What the database holds of one subject."""

    count: int = 0
    states: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class _Case:
    """One subject: what was asked, what was there before, what is there now."""

    subject: str
    asked: _Asked | None
    before: _Row
    after: _Row
    mails: int


@dataclass(slots=True)
class _Count:
    checked: int = 0
    violations: list[Violation] = field(default_factory=list)


class Ledger:
    """Collects what was asked; then checks it against what is there.

    Memory: a few hundred bytes for each subject, however many requests there are besides.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._asked: dict[str, _Asked] = {}
        self._states_apply = False
        self._nulls_apply = False
        self._promises = 0

    def add(self, outcome: Outcome) -> None:
        """Take note of one request; the order does not matter."""
        subject, endpoint = outcome.subject, outcome.endpoint
        if subject is None:
            return
        manifest = self._manifest
        if endpoint == manifest.subject_endpoint:
            asked = self._entry(subject, outcome)
            effect = effect_of(outcome)
            asked.effects.add(effect)
            asked.possible += effect is not Effect.FAIL
            self._promises += effect is Effect.OK
        elif endpoint == manifest.confirm_endpoint:
            asked = self._entry(subject, outcome)
            if effect_of(outcome) is Effect.OK:
                asked.confirmed = True
                self._promises += 1

    def check(
        self, before: Iterable[Subject], after: Iterable[Subject], mails: Iterable[Mail]
    ) -> Integrity:
        """Check every invariant for every subject that was asked about, there before or there now.

        Args:
            before: the rows before the first request.
            after: the rows after the run had settled.
            mails: what reached the mailbox.
        """
        rows_before, rows_after = _rows(before), _rows(after)
        self._apply_states(rows_after)
        recipients = Counter(mail.recipient for mail in mails)
        subjects = sorted({*self._asked, *rows_before, *rows_after, *recipients})
        counts = {invariant: _Count() for invariant in TITLES}
        unknown = recovered = 0
        for subject in subjects:
            case = _Case(
                subject,
                self._asked.get(subject),
                rows_before.get(subject, _Row()),
                rows_after.get(subject, _Row()),
                recipients[subject],
            )
            if _is_unknown(case):
                unknown += 1
                recovered += case.after.count > 0
            for rule in _RULES:
                for invariant, violation in rule(self, case):
                    counts[invariant].checked += 1
                    if violation is not None:
                        counts[invariant].violations.append(violation)
        return self._integrity(counts, len(subjects), unknown, recovered)

    def _entry(self, subject: str, outcome: Outcome) -> _Asked:
        asked = self._asked.get(subject)
        if asked is None:
            asked = self._asked[subject] = _Asked()
        asked.requests.append((outcome.planned_ns, outcome.request_id, outcome.served_by))
        return asked

    def _apply_states(self, rows: dict[str, _Row]) -> None:
        """Without any state in the database there is no schema for one, as before a migration.

        A row without a state among rows that have one was left behind, once the release is
        complete; in the middle of one it is just not moved yet.
        """
        has_states = any(state is not None for row in rows.values() for state in row.states)
        self._states_apply = bool(self._manifest.states) and has_states
        self._nulls_apply = self._states_apply and self._manifest.outcome == "completed"

    def _integrity(
        self, counts: dict[str, _Count], checked: int, unknown: int, recovered: int
    ) -> Integrity:
        total = sum(len(count.violations) for count in counts.values())
        return Integrity(
            status="violated" if total else "held" if self._promises else "unknown",
            checked=checked,
            unknown=unknown,
            recovered=recovered,
            violation_count=total,
            violations=tuple(
                violation for count in counts.values() for violation in count.violations[:LISTED]
            ),
            invariants=tuple(
                Invariant(
                    invariant=invariant,
                    title=TITLES[invariant],
                    checked=count.checked,
                    violations=len(count.violations),
                )
                for invariant, count in counts.items()
                if count.checked
            ),
        )

    # Each rule yields (invariant, violation or None) for every invariant that applies to the case.

    def _presence(self, case: _Case) -> "Iterator[_Checked]":
        """Rows against promises; a row of before is `kept`, whatever was asked about it since."""
        effects = case.asked.effects if case.asked else set()
        count = case.after.count
        if case.before.count:
            yield _judge(case, "kept", count == 1, "exactly one row, as before", _found(count))
        elif Effect.OK in effects:
            yield _judge(case, "stored", count == 1, "exactly one row", _found(count))
        elif Effect.INFO in effects:
            yield _judge(case, "at_most_once", count <= 1, "no row or one", _found(count))
        elif self._manifest.subject_endpoint is not None and (count or effects):
            why = "every request was refused" if effects else "no request asked for it"
            expected = f"no row, because {why}"
            yield _judge(case, "refused", count == 0, expected, _found(count))

    def _states(self, case: _Case) -> "Iterator[_Checked]":
        manifest = self._manifest
        if not case.after.count or not self._states_apply:
            return
        known = all(
            state in manifest.states or (state is None and not self._nulls_apply)
            for state in case.after.states
        )
        found = ", ".join(state or "no state" for state in case.after.states)
        yield _judge(case, "known_state", known, f"one of {', '.join(manifest.states)}", found)
        ranks = {state: rank for rank, state in enumerate(manifest.states)}
        was = [ranks[state] for state in case.before.states if state in ranks]
        now = [ranks[state] for state in case.after.states if state in ranks]
        if was and now:
            expected = f"{manifest.states[max(was)]} or later"
            yield _judge(case, "forward", min(now) >= max(was), expected, found)

    def _confirmation(self, case: _Case) -> "Iterator[_Checked]":
        wanted = self._manifest.confirmed_state
        if wanted is None or case.asked is None or not case.asked.confirmed:
            return
        held = bool(case.after.count) and all(state == wanted for state in case.after.states)
        found = ", ".join(state or "no state" for state in case.after.states) or "no row"
        expected = f"{wanted}, because its confirmation was acknowledged"
        yield _judge(case, "confirmed", held, expected, found)

    def _mails(self, case: _Case) -> "Iterator[_Checked]":
        manifest = self._manifest
        if manifest.confirm_endpoint is None or manifest.subject_endpoint is None:
            return
        possible = case.asked.possible if case.asked else 0
        waits = len(manifest.states) > 1 and manifest.states[0] in case.after.states
        if waits and not case.before.count:
            yield _judge(case, "mail_sent", case.mails > 0, "at least one mail", "no mail")
        if case.mails:
            expected = f"at most {possible}, one for each request that may have asked for it"
            yield _judge(
                case, "mail_cause", case.mails <= possible, expected, _found(case.mails, "mail")
            )


_Checked = tuple[str, Violation | None]

_RULES: tuple[Callable[[Ledger, _Case], Iterator[_Checked]], ...] = (
    Ledger._presence,
    Ledger._states,
    Ledger._confirmation,
    Ledger._mails,
)


def _rows(subjects: Iterable[Subject]) -> dict[str, _Row]:
    rows: dict[str, _Row] = {}
    shared: dict[str | None, _Row] = {}  # nearly all subjects have one row in one of few states
    for subject in subjects:
        row = rows.get(subject.subject)
        if row is None:
            rows[subject.subject] = shared.setdefault(subject.state, _Row(1, (subject.state,)))
        else:
            states = tuple(sorted((*row.states, subject.state), key=str))
            rows[subject.subject] = _Row(row.count + 1, states)
    return rows


def _is_unknown(case: _Case) -> bool:
    return (
        case.asked is not None
        and not case.before.count
        and Effect.INFO in case.asked.effects
        and Effect.OK not in case.asked.effects
    )


def _judge(case: _Case, invariant: str, held: bool, expected: str, found: str) -> _Checked:  # noqa: FBT001 - read as a sentence
    if held:
        return invariant, None
    requests = sorted(case.asked.requests) if case.asked else []
    return invariant, Violation(
        invariant=invariant,
        subject=case.subject,
        expected=expected,
        found=found,
        requests=tuple(request for _, request, _ in requests),
        replicas=tuple(dict.fromkeys(replica for _, _, replica in requests if replica)),
    )


def _found(count: int, thing: str = "row") -> str:
    if count == 0:
        return f"no {thing}"
    return f"{count} {thing}{'s' if count > 1 else ''}"
