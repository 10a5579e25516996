"""The promises about data, each as a rule about one subject: what was asked, and what is there.

After Jepsen's `set-full` and `total-queue` checkers: each subject is a register that requests
promised something about.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from scenarios.evidence.manifest import Manifest
from scenarios.verdict.data import values
from scenarios.verdict.data.effect import Effect
from scenarios.verdict.model import Integrity, Invariant, Violation

LISTED = 20
"""Violations that are listed for each invariant; all are counted."""

TITLES = {
    "stored": "every acknowledged row exists exactly once",
    "refused": "no row exists whose requests were all refused or never sent",
    "at_most_once": "every row whose request has an unknown outcome exists at most once",
    "kept": "every row from before the run still exists exactly once",
    "confirmed": "every acknowledged confirmation is still in effect",
    "forward": "no row moved back to an earlier state",
    "known_state": "every row has one of the declared states",
    values.KEPT_VALUE: values.TITLE,
    "mail_sent": "everyone who waits for a confirmation was sent a mail",
    "mail_cause": "every mail was asked for by a request",
}

Checked = tuple[str, Violation | None]
"""An invariant that applies to a subject, and how it is violated; None: it holds."""


class AskedSubject:
    """What was asked about one subject.

    Attributes:
        effects: what became of the requests that ask for it.
        confirmed: whether a confirmation of it was acknowledged.
        possible: how many requests that ask for it may have taken effect.
        requests: planned time, id and replica of each request about it.
    """

    __slots__ = ("confirmed", "effects", "possible", "requests")

    def __init__(self) -> None:
        self.effects: set[Effect] = set()
        self.confirmed = False
        self.possible = 0
        self.requests: list[tuple[int, str, str | None]] = []


@dataclass(frozen=True, slots=True)
class SubjectRows:
    """What the database holds of one subject.

    Attributes:
        count: so many rows.
        states: their states, in order.
    """

    count: int = 0
    states: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One subject.

    Attributes:
        subject: which.
        asked: what was asked about it; None: nothing.
        before: what was there before the run.
        after: what is there now.
        mails: how many mails reached it.
    """

    subject: str
    asked: AskedSubject | None
    before: SubjectRows
    after: SubjectRows
    mails: int

    @property
    def unknown(self) -> bool:
        """Whether nobody can tell if it should be there."""
        return (
            self.asked is not None
            and not self.before.count
            and Effect.INFO in self.asked.effects
            and Effect.OK not in self.asked.effects
        )

    @property
    def promised(self) -> bool:
        """Whether a client was told that something was done."""
        return self.asked is not None and (self.asked.confirmed or Effect.OK in self.asked.effects)


@dataclass(slots=True)
class _Count:
    checked: int = 0
    violations: int = 0
    listed: list[Violation] = field(default_factory=list)


class Sums:
    """What the checks of all subjects come to."""

    def __init__(self) -> None:
        self._checked = self._unknown = self._recovered = 0
        self._promised = False
        self._counts = {invariant: _Count() for invariant in TITLES}

    def add(self, case: Case, checks: Iterable[Checked], subjects: int = 1) -> None:
        """Add the checks of so many subjects with the same history; those that are listed first."""
        self._checked += subjects
        self._promised |= case.promised
        if case.unknown:
            self._unknown += subjects
            self._recovered += subjects if case.after.count else 0
        for invariant, violation in checks:
            count = self._counts[invariant]
            count.checked += subjects
            if violation is not None:
                count.violations += 1
                if len(count.listed) < LISTED:
                    count.listed.append(violation)

    def add_values(self, checked: int, violations: Sequence[Violation]) -> None:
        """Add the comparison of what is stored with what was sent."""
        count = self._counts[values.KEPT_VALUE]
        count.checked += checked
        count.violations += len(violations)
        count.listed += violations[:LISTED]

    def integrity(self) -> Integrity:
        """The whole."""
        counts = self._counts
        total = sum(count.violations for count in counts.values())
        return Integrity(
            status="violated" if total else "held" if self._promised else "unknown",
            checked=self._checked,
            unknown=self._unknown,
            recovered=self._recovered,
            violation_count=total,
            violations=tuple(violation for count in counts.values() for violation in count.listed),
            invariants=tuple(
                Invariant(
                    invariant=invariant,
                    title=TITLES[invariant],
                    checked=count.checked,
                    violations=count.violations,
                )
                for invariant, count in counts.items()
                if count.checked
            ),
        )


class Invariants:
    """The rules of a run."""

    def __init__(self, manifest: Manifest, *, has_states: bool) -> None:
        """Take what is promised.

        Without any state in the database there is no schema for one, as before a migration. A row
        without a state among rows that have one was left behind, once the release is complete; in
        the middle of one it is just not moved yet.

        Args:
            manifest: what was run.
            has_states: whether any row has a state after the run.
        """
        self._manifest = manifest
        self._states_apply = bool(manifest.states) and has_states
        self._nulls_apply = self._states_apply and manifest.outcome == "completed"

    def check(self, case: Case) -> list[Checked]:
        """Every invariant that applies to a subject."""
        rules = (self._presence, self._states, self._confirmation, self._mails)
        return [check for rule in rules for check in rule(case)]

    def _presence(self, case: Case) -> Iterator[Checked]:
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

    def _states(self, case: Case) -> Iterator[Checked]:
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

    def _confirmation(self, case: Case) -> Iterator[Checked]:
        wanted = self._manifest.confirmed_state
        if wanted is None or case.asked is None or not case.asked.confirmed:
            return
        held = bool(case.after.count) and all(state == wanted for state in case.after.states)
        found = ", ".join(state or "no state" for state in case.after.states) or "no row"
        expected = f"{wanted}, because its confirmation was acknowledged"
        yield _judge(case, "confirmed", held, expected, found)

    def _mails(self, case: Case) -> Iterator[Checked]:
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


def _judge(case: Case, invariant: str, held: bool, expected: str, found: str) -> Checked:  # noqa: FBT001 - read as a sentence at its call
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
