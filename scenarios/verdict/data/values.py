"""What was sent as the value of a subject against what is stored: the invariant `kept_value`.

A row can be there and be wrong: a driver that sends a number in too few bits, a migration that
rounds. So values are compared, and not only rows.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Context, Decimal
from enum import IntEnum
from typing import NamedTuple

from msgspec import UNSET

from scenarios.evidence.outcome import Outcome
from scenarios.evidence.scratch import Scratch
from scenarios.evidence.subject import Subject
from scenarios.verdict.columns.column import Column, Texts
from scenarios.verdict.columns.parts import Parts
from scenarios.verdict.data.effect import Effect, effect_of
from scenarios.verdict.model import Violation

KEPT_VALUE = "kept_value"
TITLE = "every row has the value that was sent for it, or that it had before the run"

_NUMBER = re.compile(r"[+-]?\d{1,400}(\.\d{1,400})?([eE][+-]?\d{1,3})?")
_EXACTLY = Context(prec=2000)  # more digits than `_NUMBER` accepts
_NULL = "\0"
_WORD = 1 << 32
_BITS = 2
_MASK = (1 << 60) - 1


class Source(IntEnum):
    """Where a value is known from."""

    SENT = 0
    MAYBE_SENT = 1
    BEFORE = 2
    AFTER = 3


class Known(NamedTuple):
    """One value of a subject.

    Attributes:
        source: where it is known from.
        value: as text; None for NULL.
        request: the request that sent it; empty for a row.
        replica: who answered that; empty if nobody knows.
    """

    source: Source
    value: str | None
    request: str = ""
    replica: str = ""


def same(value: str | None) -> str:
    """A text that is the same for all ways to write a value: `1.50` and `1.5` are one number."""
    if value is None:
        return _NULL
    if not _NUMBER.fullmatch(value):
        return value
    number = Decimal(value).normalize(_EXACTLY)
    return f"{number:f}" if number else "0"


def allowed(sources: Mapping[Source, Sequence[str]]) -> set[str] | None:
    """The values that a row may have now, in the form of `same`; None if nobody knows any.

    Whichever of several acknowledged requests came last may win. A request whose effect is unknown
    may have won, too. Where nothing was acknowledged, a row keeps the value of before.
    """
    sent, before = sources.get(Source.SENT, ()), sources.get(Source.BEFORE, ())
    maybe = sources.get(Source.MAYBE_SENT, ())
    if not sent and not before and not maybe:
        return None
    return {*(sent or before), *maybe}


def sent_by(outcome: Outcome) -> Known | None:
    """What a request says of its subject's value; None if nothing."""
    if outcome.subject is None or outcome.value is None:
        return None
    effect = effect_of(outcome)
    if effect is Effect.FAIL:
        return None
    source = Source.SENT if effect is Effect.OK else Source.MAYBE_SENT
    return Known(source, outcome.value, outcome.request_id, outcome.served_by or "")


class Values:
    """All values of all subjects, in columns.

    Args:
        scratch: where the columns are kept.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._names, self._codes = Column(scratch), Column(scratch)
        self._subjects, self._values = Texts(scratch), Texts(scratch)
        self._requests, self._replicas = Texts(scratch), Texts(scratch)

    def __len__(self) -> int:
        return len(self._names)

    def add_requests(self, outcomes: Iterable[Outcome]) -> None:
        """Take note of what requests sent."""
        self._add(
            (outcome.subject or "", known)
            for outcome in outcomes
            if outcome.value is not None and (known := sent_by(outcome)) is not None
        )

    def add_rows(self, rows: Iterable[Subject], source: Source) -> None:
        """Take note of what is stored, or was before the run."""
        self._add((row.subject, Known(source, row.value)) for row in rows if row.value is not UNSET)

    def _add(self, found: Iterable[tuple[str, Known]]) -> None:
        rows = list(found)
        if not rows:
            return
        self._names.add(hash(subject) for subject, _ in rows)
        self._codes.add(
            (hash(same(known.value)) & _MASK) << _BITS | known.source for _, known in rows
        )
        self._subjects.add([subject for subject, _ in rows])
        self._values.add([_NULL if known.value is None else known.value for _, known in rows])
        self._requests.add([known.request for _, known in rows])
        self._replicas.add([known.replica for _, known in rows])

    def merge(self, other: "Values") -> None:
        """Add the values that follow; the other must not be used again."""
        self._names.merge(other._names)  # noqa: SLF001 - of the same class
        self._codes.merge(other._codes)  # noqa: SLF001 - of the same class
        self._subjects.merge(other._subjects)  # noqa: SLF001 - of the same class
        self._values.merge(other._values)  # noqa: SLF001 - of the same class
        self._requests.merge(other._requests)  # noqa: SLF001 - of the same class
        self._replicas.merge(other._replicas)  # noqa: SLF001 - of the same class

    def check(self, scratch: Scratch) -> tuple[int, list[Violation]]:
        """How many subjects have values to compare, and those whose stored one is another.

        Args:
            scratch: where values are kept meanwhile.
        """
        parts = Parts(scratch, len(self))
        for names, codes in zip(self._names, self._codes, strict=True):
            parts.add(zip(names, codes, strict=True))
        checked, bad = 0, set[int]()
        for names, codes in parts:
            subjects: dict[int, dict[int, set[int]]] = {}
            for name, code in zip(names, codes, strict=True):
                sources = subjects.setdefault(name, {})
                sources.setdefault(code & Source.AFTER, set()).add(code >> _BITS)
            for name, sources in subjects.items():
                stored = sources.get(Source.AFTER)
                fine = sources.get(Source.SENT) or sources.get(Source.BEFORE) or set()
                fine = fine | sources.get(Source.MAYBE_SENT, set())
                if stored is None or not fine:
                    continue
                checked += 1
                if not stored <= fine:
                    bad.add(name)
        violations = [
            violation
            for subject, known in sorted(self._of(bad).items())
            if (violation := violation_of(subject, known)) is not None
        ]
        return checked, violations

    def _of(self, names: set[int]) -> dict[str, list[Known]]:
        """All that is known of the subjects with these hashes."""
        found: dict[str, list[Known]] = {}
        if not names:
            return found
        for hashes, codes, *texts in zip(
            *(self._names, self._codes, self._subjects),
            *(self._values, self._requests, self._replicas),
            strict=True,
        ):
            for index, name in enumerate(hashes):
                if name in names:
                    subject, value, request, replica = (one[index] for one in texts)
                    source = Source(codes[index] & Source.AFTER)
                    stored = None if value == _NULL else value
                    found.setdefault(subject, []).append(Known(source, stored, request, replica))
        return found


def violation_of(subject: str, known: Iterable[Known]) -> Violation | None:
    """How a subject's stored value is none of those that it may have; None if it is one."""
    by_source: dict[Source, list[Known]] = {}
    for one in known:
        by_source.setdefault(one.source, []).append(one)
    fine = allowed(
        {source: [same(one.value) for one in ones] for source, ones in by_source.items()}
    )
    wrong = [
        one.value
        for one in by_source.get(Source.AFTER, ())
        if fine is not None and same(one.value) not in fine
    ]
    if not wrong:
        return None
    sent = by_source.get(Source.SENT, []) or by_source.get(Source.BEFORE, [])
    sent = sent + by_source.get(Source.MAYBE_SENT, [])
    how = "sent" if Source.SENT in by_source else "stored before the run"
    requests = [one for one in sent if one.request]
    return Violation(
        invariant=KEPT_VALUE,
        subject=subject,
        expected=f"{_either(one.value for one in sent)}, which was {how}",
        found=_either(wrong) + _hint(sent[0].value, wrong[0]),
        requests=tuple(one.request for one in requests),
        replicas=tuple(dict.fromkeys(one.replica for one in requests if one.replica)),
    )


def _either(values: Iterable[str | None]) -> str:
    return " or ".join(dict.fromkeys("NULL" if one is None else one for one in values))


def _hint(sent: str | None, stored: str | None) -> str:
    """What the difference looks like, if it looks like something known."""
    if sent is None or stored is None or not (_whole(sent) and _whole(stored)):
        return ""
    return " (the same modulo 2^32)" if (int(sent) - int(stored)) % _WORD == 0 else ""


def _whole(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None and text.lstrip("+-").isdecimal()


def changed_values(
    before: Iterable[Subject], after: Iterable[Subject]
) -> Iterator[tuple[str, str, str]]:
    """The subjects whose rows are gone or have another value: subject, what was, and what is."""
    were, are = _by_subject(before), _by_subject(after)
    for subject, values in were.items():
        now = are.get(subject)
        if now is None:
            yield subject, "a row", "no row"
            continue
        was, now_is = ({same(one) for one in known} for known in (values, now))
        if values and now and was != now_is:
            yield subject, _either(values), _either(now)


def _by_subject(rows: Iterable[Subject]) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for row in rows:
        values = found.setdefault(row.subject, [])
        if row.value is not UNSET:
            values.append(row.value)
    return found
