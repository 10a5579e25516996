"""What became of the data: promises made to clients against what the database holds.

After Jepsen's `set-full` and `total-queue` checkers: each subject is a register that requests
promised something about, and its rows are read straight from the database after the run settled.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Final, Literal

from scenarios.evidence.mail import Mail
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.scratch import Scratch
from scenarios.evidence.subject import Subject
from scenarios.verdict.columns.column import Column, Texts, batches
from scenarios.verdict.columns.requests import Batch, RequestColumns
from scenarios.verdict.data.effect import Effect, effect_of
from scenarios.verdict.data.facts import Fact, Facts
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
    "mail_sent": "everyone who waits for a confirmation was sent a mail",
    "mail_cause": "every mail was asked for by a request",
}


_BY_ROW: Final = -1


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
    violations: int = 0
    listed: list[Violation] = field(default_factory=list)


class _Sums:
    """What the checks of all subjects come to."""

    def __init__(self) -> None:
        self.checked = self.unknown = self.recovered = 0
        self.promised = False
        self.counts = {invariant: _Count() for invariant in TITLES}

    def add(self, case: _Case, checks: "Iterable[_Checked]", subjects: int = 1) -> None:
        """Add the checks of so many subjects with the same history."""
        self.checked += subjects
        if case.asked is not None:
            self.promised |= case.asked.confirmed or Effect.OK in case.asked.effects
        if _is_unknown(case):
            self.unknown += subjects
            self.recovered += subjects if case.after.count else 0
        for invariant, violation in checks:
            count = self.counts[invariant]
            count.checked += subjects
            if violation is not None:
                count.violations += 1
                if len(count.listed) < LISTED:
                    count.listed.append(violation)


class Ledger:
    """Collects what was asked; then checks it against what is there.

    Most subjects have the same history as thousands of others: one request that succeeded, one row,
    one mail. Each history is judged once and counted; only subjects whose history breaks a promise
    are looked at by themselves.
    """

    def __init__(self, manifest: Manifest, columns: RequestColumns, scratch: Scratch) -> None:
        """Begin with nothing.

        Args:
            manifest: says what is promised.
            columns: the requests, which each batch is already in.
            scratch: where the facts are kept.
        """
        self._manifest = manifest
        self._columns = columns
        self._scratch = scratch
        self._facts = Facts(scratch)
        self._ids, self._kinds, self._planned = Texts(scratch), Column(scratch), Column(scratch)
        self._numbers: dict[int, int | None] = {}
        self._states_apply = False
        self._nulls_apply = False

    def add(self, batch: Batch) -> None:
        """Take note of some requests; the order does not matter."""
        number_of = {number: self._number(number) for number in batch.counts}
        if not any(number is not None for number in number_of.values()):
            return
        chosen = [
            number_of[kind] is not None and subject is not None
            for kind, subject in zip(batch.kinds, batch.subjects, strict=True)
        ]
        rows = list(compress(batch.rows, chosen))
        kinds = list(compress(batch.kinds, chosen))
        numbers = [number_of[kind] or 0 for kind in kinds]
        if _BY_ROW in numbers:
            numbers = [
                self._number_of_row(row, kind) if number == _BY_ROW else number
                for row, kind, number in zip(rows, kinds, numbers, strict=True)
            ]
        self._facts.add([row.subject or "" for row in rows], numbers)
        self._ids.add([row.request_id for row in rows])
        self._kinds.add(kinds)
        self._planned.add(compress(batch.planned, chosen))

    def check(
        self, before: Iterable[Subject], after: Iterable[Subject], mails: Iterable[Mail]
    ) -> Integrity:
        """Check every invariant for every subject that was asked about, there before or there now.

        Args:
            before: the rows before the first request.
            after: the rows after the run had settled.
            mails: what reached the mailbox.
        """
        asked = len(self._facts)
        self._read(before, "before")
        self._read(after, "after")
        mailed = self._facts.number(Fact("mailed"))
        for some in batches(mails):
            self._facts.add([mail.recipient for mail in some], [mailed] * len(some))
        self._apply_states()
        sums = _Sums()
        histories = self._facts.histories()
        bad: list[int] = []
        for place, number in histories.counts.items():
            case = _case("", histories.facts(place))
            checks = self._checks(case)
            if any(violation for _, violation in checks):
                bad.append(place)
            else:
                sums.add(case, checks, number)
        for case in self._cases(histories.names(bad), asked):
            sums.add(case, self._checks(case))
        return self._integrity(sums)

    def _checks(self, case: _Case) -> "list[_Checked]":
        return [check for rule in _RULES for check in rule(self, case)]

    def _read(self, rows: Iterable[Subject], when: Literal["before", "after"]) -> None:
        numbers: dict[str | None, int] = {}
        for batch in batches(rows):
            states = [row.state for row in batch]
            for state in set(states).difference(numbers):
                numbers[state] = self._facts.number(Fact(when, state))
            self._facts.add([row.subject for row in batch], list(map(numbers.__getitem__, states)))

    def _number(self, number: int) -> int | None:
        """The number of what requests of a kind mean for their subject; None: nothing.

        `_BY_ROW` where it depends on more than what they have in common.
        """
        if number not in self._numbers:
            kind = self._columns.kinds[number]
            if kind.endpoint not in (
                self._manifest.subject_endpoint,
                self._manifest.confirm_endpoint,
            ):
                self._numbers[number] = None
            elif not kind.ok or kind.status is None or kind.status >= 400:  # noqa: PLR2004 - RFC 9110, section 15
                self._numbers[number] = _BY_ROW
            else:
                self._numbers[number] = self._number_of(kind.endpoint, Effect.OK)
        return self._numbers[number]

    def _number_of_row(self, outcome: Outcome, number: int) -> int:
        return self._number_of(self._columns.kinds[number].endpoint, effect_of(outcome))

    def _number_of(self, endpoint: str, effect: Effect) -> int:
        if endpoint == self._manifest.subject_endpoint:
            return self._facts.number(Fact("asked", effect))
        return self._facts.number(Fact("confirmed", effect is Effect.OK))

    def _cases(self, names: Collection[int], asked: int) -> list[_Case]:
        """The subjects with these names, in order, each with all that is known of it.

        Args:
            names: the hashes of subjects.
            asked: how many of the facts are requests; these come first.
        """
        found: dict[str, Counter[Fact]] = {}
        places: dict[int, str] = {}
        for place, subject, fact in self._facts.of(names):
            found.setdefault(subject, Counter())[fact] += 1
            if place < asked:
                places[place] = subject
        requests = self._requests(places)
        cases = []
        for subject, facts in sorted(found.items()):
            case = _case(subject, facts)
            if case.asked is not None:
                case.asked.requests = requests[subject]
            cases.append(case)
        return cases

    def _requests(self, places: Mapping[int, str]) -> dict[str, list[tuple[int, str, str | None]]]:
        """The requests of subjects, by their places among all that are about subjects."""
        found: dict[str, list[tuple[int, str, str | None]]] = {}
        place = 0
        replicas = [kind.served_by for kind in self._columns.kinds]
        for planned, ids, kinds in zip(self._planned, self._ids, self._kinds, strict=True):
            for index in range(len(ids)) if places else ():
                subject = places.get(place + index)
                if subject is not None:
                    request = planned[index], ids[index], replicas[kinds[index]]
                    found.setdefault(subject, []).append(request)
            place += len(ids)
        return found

    def _apply_states(self) -> None:
        """Without any state in the database there is no schema for one, as before a migration.

        A row without a state among rows that have one was left behind, once the release is
        complete; in the middle of one it is just not moved yet.
        """
        has_states = any(
            fact.what == "after" and fact.value is not None for fact in self._facts.known
        )
        self._states_apply = bool(self._manifest.states) and has_states
        self._nulls_apply = self._states_apply and self._manifest.outcome == "completed"

    def _integrity(self, sums: _Sums) -> Integrity:
        counts = sums.counts
        total = sum(count.violations for count in counts.values())
        return Integrity(
            status="violated" if total else "held" if sums.promised else "unknown",
            checked=sums.checked,
            unknown=sums.unknown,
            recovered=sums.recovered,
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
    Ledger._presence,  # noqa: SLF001 - the rules are the class's own
    Ledger._states,  # noqa: SLF001 - the same
    Ledger._confirmation,  # noqa: SLF001 - the same
    Ledger._mails,  # noqa: SLF001 - the same
)


def _case(subject: str, facts: Mapping[Fact, int]) -> _Case:
    """A subject with so many of these facts."""
    asked = _Asked()
    known = False
    mails = 0
    before: list[str | None] = []
    after: list[str | None] = []
    for (what, value), number in facts.items():
        if what == "asked":
            known = True
            asked.effects.add(Effect(value))
            asked.possible += number if value is not Effect.FAIL else 0
        elif what == "confirmed":
            known = True
            asked.confirmed |= bool(value)
        elif what == "mailed":
            mails += number
        else:
            states = before if what == "before" else after
            states += [None if value is None else str(value)] * number
    return _Case(subject, asked if known else None, _row(before), _row(after), mails)


def _row(states: Sequence[str | None]) -> _Row:
    return _Row(len(states), tuple(sorted(states, key=str)))


def _is_unknown(case: _Case) -> bool:
    return (
        case.asked is not None
        and not case.before.count
        and Effect.INFO in case.asked.effects
        and Effect.OK not in case.asked.effects
    )


def _judge(case: _Case, invariant: str, held: bool, expected: str, found: str) -> _Checked:  # noqa: FBT001 - read as a sentence at its call
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
