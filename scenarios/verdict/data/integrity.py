"""What became of the data: promises made to clients against what the database holds.

The rows are read straight from the database: before the first request, and after the run has
settled.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import compress
from typing import Final

from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.scratch import Scratch
from scenarios.verdict.columns.column import Column, Texts
from scenarios.verdict.columns.requests import Batch, RequestColumns
from scenarios.verdict.data.effect import Effect, effect_of
from scenarios.verdict.data.facts import Fact, Facts
from scenarios.verdict.data.invariants import AskedSubject, Case, Invariants, SubjectRows, Sums
from scenarios.verdict.model import Integrity

_BY_ROW: Final = -1


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
        self._facts = Facts(scratch)
        self._ids, self._kinds, self._planned = Texts(scratch), Column(scratch), Column(scratch)
        self._numbers: dict[int, int | None] = {}
        self._asked: int | None = None

    def add(self, batch: Batch) -> None:
        """Take note of some requests; the order does not matter."""
        self._facts.values.add_requests(batch.rows)
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

    def __len__(self) -> int:
        return len(self._facts)

    @property
    def known(self) -> Mapping[Fact, int]:
        """The numbers of the facts that are known."""
        return self._facts.known

    def merge(self, other: "Ledger", kinds: Sequence[int]) -> None:
        """Add the requests that follow; the other must not be used again.

        Args:
            other: the other.
            kinds: for each number of a kind there, the number here; the columns are merged already.
        """
        self._facts.merge(other._facts)  # noqa: SLF001 - of the same class
        self._ids.merge(other._ids)  # noqa: SLF001 - of the same class
        self._kinds.merge(other._kinds, kinds)  # noqa: SLF001 - of the same class
        self._planned.merge(other._planned)  # noqa: SLF001 - of the same class

    def add_facts(self, facts: Facts) -> None:
        """Take note of rows before or after the run, or of mails; all requests must be known."""
        self._asked = len(self._facts) if self._asked is None else self._asked
        self._facts.merge(facts)

    def check(self, scratch: Scratch) -> Integrity:
        """Check every invariant for every subject that was asked about, there before or there now.

        Args:
            scratch: where facts are kept meanwhile.
        """
        asked = len(self._facts) if self._asked is None else self._asked
        invariants = Invariants(self._manifest, has_states=self._has_states())
        sums = Sums()
        histories = self._facts.histories(scratch)
        bad: list[int] = []
        for place, number in histories.counts.items():
            case = _case("", histories.facts(place))
            checks = invariants.check(case)
            if any(violation for _, violation in checks):
                bad.append(place)
            else:
                sums.add(case, checks, number)
        for case in self._cases(histories.names(bad), asked):
            sums.add(case, invariants.check(case))
        sums.add_values(*self._facts.values.check(scratch))
        return sums.integrity()

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

    def _cases(self, names: Collection[int], asked: int) -> list[Case]:
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

    def _has_states(self) -> bool:
        return any(fact.what == "after" and fact.value is not None for fact in self._facts.known)


def _case(subject: str, facts: Mapping[Fact, int]) -> Case:
    """A subject with so many of these facts."""
    asked = AskedSubject()
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
    return Case(subject, asked if known else None, _rows(before), _rows(after), mails)


def _rows(states: Sequence[str | None]) -> SubjectRows:
    return SubjectRows(len(states), tuple(sorted(states, key=str)))
