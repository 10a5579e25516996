"""What the evidence says about subjects, fact by fact, and how many subjects share a history."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from scenarios.evidence.mail import Mail
from scenarios.evidence.scratch import Scratch
from scenarios.evidence.subject import Subject
from scenarios.verdict.columns.column import Column, Texts, batches
from scenarios.verdict.columns.parts import Parts
from scenarios.verdict.data.effect import Effect
from scenarios.verdict.data.values import Source, Values


class Fact(NamedTuple):
    """One thing that is known of a subject.

    Attributes:
        what: `asked`: a request asked for it, and its value is the effect. `confirmed`: a request
            asked to confirm it, and its value is whether that was acknowledged. `before`, `after`:
            a row was there before or after the run, and its value is the state. `mailed`: a mail
            reached it.
        value: see there.
    """

    what: Literal["asked", "confirmed", "before", "after", "mailed"]
    value: Effect | bool | str | None = None


class Facts:
    """All that is known of all subjects, in columns.

    Attributes:
        known: the different facts, each with its number.
        values: the values of subjects, where anybody declares them.
    """

    def __init__(self, scratch: Scratch, known: Mapping[Fact, int] | None = None) -> None:
        """Begin with nothing.

        Args:
            scratch: where the columns are kept.
            known: the numbers of facts that are known already.
        """
        self.known: dict[Fact, int] = dict(known or {})
        self.values = Values(scratch)
        self._subjects = Texts(scratch)
        self._names = Column(scratch)
        self._numbers = Column(scratch, "i")

    def __len__(self) -> int:
        return len(self._names)

    def number(self, fact: Fact) -> int:
        """The number of a fact."""
        return self.known.setdefault(fact, len(self.known))

    def add(self, subjects: Sequence[str], numbers: Sequence[int]) -> None:
        """Take note of a batch: subjects, and for each of them the number of a fact."""
        self._subjects.add(subjects)
        self._names.add(map(hash, subjects))
        self._numbers.add(numbers)

    def merge(self, other: "Facts") -> None:
        """Add the facts that follow; the other must not be used again."""
        numbers = list(map(self.number, other.known))
        self._subjects.merge(other._subjects)  # noqa: SLF001 - of the same class
        self._names.merge(other._names)  # noqa: SLF001 - of the same class
        self._numbers.merge(other._numbers, numbers)  # noqa: SLF001 - of the same class
        self.values.merge(other.values)

    def add_rows(self, rows: Iterable[Subject], when: Literal["before", "after"]) -> None:
        """Take note of rows that were there before or after the run."""
        numbers: dict[str | None, int] = {}
        for batch in batches(rows):
            states = [row.state for row in batch]
            for state in set(states).difference(numbers):
                numbers[state] = self.number(Fact(when, state))
            self.add([row.subject for row in batch], list(map(numbers.__getitem__, states)))
            self.values.add_rows(batch, Source.BEFORE if when == "before" else Source.AFTER)

    def add_mails(self, mails: Iterable[Mail]) -> None:
        """Take note of mails that reached subjects."""
        mailed = self.number(Fact("mailed"))
        for batch in batches(mails):
            self.add([mail.recipient for mail in batch], [mailed] * len(batch))

    def of(self, names: Collection[int]) -> Iterator[tuple[int, str, Fact]]:
        """The facts of the subjects with these hashes: its place among all facts, subject, fact."""
        if not names:
            return
        facts = list(self.known)
        place = 0
        for hashes, numbers, subjects in zip(
            self._names, self._numbers, self._subjects, strict=True
        ):
            for index, name in enumerate(hashes):
                if name in names:
                    yield place + index, subjects[index], facts[numbers[index]]
            place += len(hashes)

    def histories(self, scratch: Scratch) -> "Histories":
        """What subjects' facts come to.

        Args:
            scratch: where facts are kept meanwhile.
        """
        parts = Parts(scratch, len(self))
        for names, numbers in zip(self._names, self._numbers, strict=True):
            parts.add(zip(names, numbers, strict=True))
        return Histories(list(self.known), parts)


class _After(dict[int, int]):
    """The history that one becomes with one more fact, by the number of the fact."""

    def __init__(self, history: tuple[tuple[int, int], ...], all_of_them: "Histories") -> None:
        super().__init__()
        self.history = history
        self._all = all_of_them

    def __missing__(self, number: int) -> int:
        facts = dict(self.history)
        facts[number] = facts.get(number, 0) + 1
        self[number] = found = self._all.place(tuple(sorted(facts.items())))
        return found


class Histories:
    """How many subjects have the same facts, each as often: most of a run's do.

    Attributes:
        counts: how many subjects have each history, by its place.
    """

    def __init__(self, facts: Sequence[Fact], parts: Parts) -> None:
        self._facts = facts
        self._parts = parts
        self._places: dict[tuple[tuple[int, int], ...], int] = {}
        self._steps: list[_After] = []
        self._nothing = self.place(())
        self.counts = Counter[int]()
        for subjects in self._subjects():
            self.counts.update(subjects.values())

    def place(self, history: tuple[tuple[int, int], ...]) -> int:
        """The place of a history: facts by their numbers, each with how often it is true."""
        known = self._places.get(history)
        if known is None:
            known = self._places[history] = len(self._steps)
            self._steps.append(_After(history, self))
        return known

    def facts(self, place: int) -> Mapping[Fact, int]:
        """The facts of a history, each with how often it is true."""
        return {self._facts[number]: count for number, count in self._steps[place].history}

    def names(self, places: Iterable[int]) -> set[int]:
        """The hashes of the subjects that have one of these histories."""
        wanted = set(places)
        if not wanted:
            return set()
        return {
            name
            for subjects in self._subjects()
            for name, place in subjects.items()
            if place in wanted
        }

    def _subjects(self) -> Iterator[dict[int, int]]:
        """The history of each subject, by the subject's hash, in parts."""
        steps, nothing = self._steps, self._nothing
        for names, numbers in self._parts:
            subjects: dict[int, int] = {}
            get = subjects.get
            for name, number in zip(names, numbers, strict=True):
                subjects[name] = steps[get(name, nothing)][number]
            yield subjects
