"""All requests of a run, in columns: what they have in common is said once, for each kind of them.

A *kind* is all that requests may share: the step of the journey, the endpoint, the connection, the
status, the replica. A run has few kinds, so what is true of a kind is decided once and counted.
Times, ids and users differ, and are columns of numbers. The requests themselves are kept only if
they failed.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress, repeat
from operator import and_, neg, sub
from typing import Any, Final, NamedTuple

from msgspec.structs import astuple

from scenarios.evidence.counted import CountedRequests
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.request_id import place_of
from scenarios.evidence.scratch import Scratch
from scenarios.verdict.columns.column import NONE, Column, batches

Step = tuple[str, int]

SEVERAL = ""
"""Stands for the user, where it was not one alone."""

KEY_MASK: Final = (1 << 62) - 1
"""The bits of a hash that name a request."""
_MOST_REMEMBERED = 10_000
_FIELDS: Final = Outcome.__struct_fields__
_SHARED: Final = ("endpoint", "connection", "expected", "status", "error", "served_by", "paced")
"""What makes a kind, besides the step and whether the checks of the answer held."""
_READS = ("GET ", "HEAD ", "OPTIONS ")


def key_of(request_id: str) -> int:
    """A request's id as a number of 62 bits; the same in one process only."""
    return hash(request_id) & KEY_MASK


def step_of(outcome: Outcome) -> Step:
    """The step that a request belongs to; see `request_id.id_of`; step 0 for other ids."""
    return outcome.journey, _number(outcome.request_id)


def _number(request_id: str) -> int:
    parts = request_id.split("-")
    number = parts[3 if parts[1].startswith("u") else 2 :][:1] if len(parts) > 2 else []  # noqa: PLR2004
    return int(number[0]) if number and number[0].isdecimal() else 0


class _Numbers(dict[str, int]):
    """The step's number by the rest of an id: after the user, as most ids have few of them."""

    def __init__(self, user: str) -> None:
        super().__init__()
        self._user = user

    def __missing__(self, rest: str) -> int:
        number = _number(f"s-{self._user}-{rest}")
        if len(self) < _MOST_REMEMBERED:
            self[rest] = number
        return number


class Kind:
    """What requests may have in common.

    Attributes:
        number: its place among all kinds.
        step: the journey, and which of its steps.
        endpoint: what was asked for.
        connection: `new` or `reused`.
        status: of the answer.
        served_by: who answered.
        paced: whether users took their time.
        ok: whether these requests succeeded.
        dispatched: whether they were sent.
        version: of the replica that answered; None if unknown.
        writes: whether they may have changed something.
        count: how many requests are of this kind.
        asked_by: their user, where all are of one; `SEVERAL`; None if no id names a user.
    """

    __slots__ = (
        *("asked_by", "connection", "count", "dispatched", "endpoint", "number", "ok", "paced"),
        *("served_by", "status", "step", "version", "writes"),
    )

    def __init__(self, number: int, key: tuple[Any, ...], version: str | None) -> None:
        (
            journey,
            step,
            self.endpoint,
            self.connection,
            expected,
            self.status,
            error,
            self.served_by,
            self.paced,
            matched,
        ) = key
        self.number = number
        self.step: Step = (journey, step)
        self.ok = bool(error is None and self.status in expected and matched)
        self.dispatched = error != "undispatched"
        self.version = version
        self.writes = not self.endpoint.startswith(_READS)
        self.count = 0
        self.asked_by: str | None = None

    def note_user(self, user: str) -> None:
        """Take note of who asked."""
        self.asked_by = user if self.asked_by in (None, user) else SEVERAL


class Kinds(dict[tuple[Any, ...], int]):
    """The number of each kind, by what makes it one.

    Attributes:
        all: the kinds, by their numbers.
    """

    def __init__(self, version_of: Callable[[str | None], str | None]) -> None:
        super().__init__()
        self.all: list[Kind] = []
        self._version_of = version_of

    def merge(self, other: "Kinds") -> list[int]:
        """Add the kinds of other requests, with how many there are of each.

        Returns:
            for each number there, the number here.
        """
        numbers = list(map(self.__getitem__, other))
        for theirs, number in zip(other.all, numbers, strict=True):
            mine = self.all[number]
            mine.count += theirs.count
            if theirs.asked_by is not None:
                mine.note_user(theirs.asked_by)
        return numbers

    def __missing__(self, key: tuple[Any, ...]) -> int:
        return self._add(key, key, self._version_of(key[7])).number

    def counted(self, line: CountedRequests) -> Kind:
        """The kind of requests that were only counted: their replicas are not known."""
        key = (
            *(line.journey, line.step, line.endpoint, line.connection, line.expected, line.status),
            *(None, None, False, True),
        )
        known = self.get((*key, line.version))
        return (
            self._add((*key, line.version), key, line.version)
            if known is None
            else (self.all[known])
        )

    def _add(self, name: tuple[Any, ...], key: tuple[Any, ...], version: str | None) -> Kind:
        kind = Kind(len(self.all), key, version)
        self.all.append(kind)
        self[name] = kind.number
        return kind


class Batch(NamedTuple):
    """Some requests; each sequence has one item for each of them.

    Attributes:
        rows: the requests themselves.
        kinds: the numbers of their kinds.
        planned: when they were due.
        taken: how long they took from then, in ns.
        lags: how long after that they were sent; `NONE` if they never were.
        subjects: what they were about.
        users: who of the staying users sent them.
        counts: how many there are of each kind.
    """

    rows: Sequence[Outcome]
    kinds: Sequence[int]
    planned: Sequence[int]
    taken: Sequence[int]
    lags: Sequence[int]
    subjects: Sequence[str | None]
    users: Sequence[str | None]
    counts: Counter[int]

    def only(self, chosen: Sequence[bool]) -> "Batch":
        """Those of them for which it is true."""
        kinds = list(compress(self.kinds, chosen))
        return Batch(
            rows=list(compress(self.rows, chosen)),
            kinds=kinds,
            planned=list(compress(self.planned, chosen)),
            taken=list(compress(self.taken, chosen)),
            lags=list(compress(self.lags, chosen)),
            subjects=list(compress(self.subjects, chosen)),
            users=list(compress(self.users, chosen)),
            counts=Counter(kinds),
        )


class RequestColumns:
    """Every request of a run; they may come in any order.

    The columns have a number for each request, in the order of reading, in batches of one size.

    Attributes:
        scratch: where they are kept.
        kinds: the kinds, by their numbers.
        failed: the requests that did not succeed, also those that were not sent.
        planned: when they were due.
        taken: from then until the outcome was known.
        lag: from then until they were sent; `NONE` if they never were.
        first_byte: when the answer began; `NONE` if none did.
        kind: the number of their kind.
        name: `key_of` their ids.
        led_by: `key_of` the id of the request that led to them; of a staying user's visit minus the
            user's key; else 0.
        subject: the hash of what they are about; 0 if that is nothing.
        user: the key of the staying user; 0 for all others.
        users: the staying users, by their keys.
        earliest: the first planned time of each batch.
        least_lag: the least of the lags; 0 if none is negative.
    """

    def __init__(self, scratch: Scratch, version_of: Callable[[str | None], str | None]) -> None:
        self.scratch = scratch
        self._kinds = Kinds(version_of)
        self._arriving, self._staying = _Numbers(""), _Numbers("u")
        self.failed: list[Outcome] = []
        self.planned, self.taken, self.lag = Column(scratch), Column(scratch), Column(scratch)
        self.first_byte, self.kind = Column(scratch), Column(scratch, "i")
        self.name, self.led_by = Column(scratch), Column(scratch)
        self.subject, self.user = Column(scratch), Column(scratch)
        self.users: dict[int, str] = {}
        self.earliest: list[int] = []
        self.least_lag = 0

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def kinds(self) -> Sequence[Kind]:
        """The kinds, by their numbers."""
        return self._kinds.all

    def reading(self, outcomes: Iterable[Outcome]) -> Iterator[Batch]:
        """Take all requests, and yield each batch of them for whoever counts something else."""
        for rows in batches(outcomes):
            yield self._add(rows)

    def merge(self, other: "RequestColumns") -> list[int]:
        """Add the requests that follow; the other must not be used again.

        Returns:
            for each number of a kind there, the number here.
        """
        numbers = self._kinds.merge(other._kinds)  # noqa: SLF001 - of the same class
        self.failed += other.failed
        for mine, theirs in (
            *((self.planned, other.planned), (self.taken, other.taken), (self.lag, other.lag)),
            *((self.first_byte, other.first_byte), (self.name, other.name)),
            *((self.led_by, other.led_by), (self.subject, other.subject), (self.user, other.user)),
        ):
            mine.merge(theirs)
        self.kind.merge(other.kind, numbers)
        self.users |= other.users
        self.earliest += other.earliest
        self.least_lag = min(self.least_lag, other.least_lag)
        return numbers

    def count(self, lines: Iterable[CountedRequests]) -> None:
        """Take requests that were only counted; they are in the kinds, but not in the columns."""
        for line in lines:
            self._kinds.counted(line).count += line.total

    def marked(self, wanted: Callable[[Kind], bool]) -> list[bool]:
        """For each kind, by its number, whether it is wanted."""
        return [wanted(kind) for kind in self.kinds]

    def _add(self, rows: list[Outcome]) -> Batch:
        columns = dict(zip(_FIELDS, zip(*map(astuple, rows), strict=True), strict=True))
        ids, planned, sent = columns["request_id"], columns["planned_ns"], columns["sent_ns"]
        first_bytes, subjects = columns["first_byte_ns"], columns["subject"]
        size = len(rows)
        matched: Iterable[bool] = repeat(True)
        if columns["mismatch"].count(None) != size:
            matched = [mismatch is None for mismatch in columns["mismatch"]]
        steps = self._steps(ids)
        keys = zip(columns["journey"], steps, *(columns[name] for name in _SHARED), matched)  # noqa: B905 - `matched` may be endless
        kinds = list(map(self._kinds.__getitem__, keys))
        counts = Counter(kinds)
        taken = list(map(sub, columns["done_ns"], planned))
        self.earliest.append(min(planned))
        self.planned.add(planned)
        self.taken.add(taken)
        self.kind.add(kinds)
        lags = (
            list(map(sub, sent, planned))
            if None not in sent
            else [NONE if at is None else at - due for at, due in zip(sent, planned, strict=True)]
        )
        self.lag.add(lags)
        if min(lags) < 0:
            self.least_lag = min([self.least_lag, *(lag for lag in lags if lag != NONE)])
        self.first_byte.add(
            first_bytes
            if None not in first_bytes
            else [NONE if at is None else at for at in first_bytes]
        )
        self.name.add(map(and_, map(hash, ids), repeat(KEY_MASK)))
        self._add_origins(columns["cause_id"], columns["user"])
        self.subject.add([0 if one is None else hash(one) or 1 for one in subjects])
        self._note(rows, kinds, counts)
        return Batch(rows, kinds, planned, taken, lags, subjects, columns["user"], counts)

    def _steps(self, ids: Sequence[str]) -> list[int]:
        arriving, staying = self._arriving, self._staying
        try:
            return [
                staying[rest] if who[0] == "u" else arriving[rest]
                for _, who, rest in [one.split("-", 2) for one in ids]
            ]
        except (ValueError, IndexError):  # an id that is none of ours
            return [_number(one) for one in ids]

    def _add_origins(self, causes: Sequence[str | None], users: Sequence[str | None]) -> None:
        size = len(causes)
        keys: Sequence[int] = array("q", bytes(8 * size))
        if users.count(None) != size:
            known = {one: key_of(one) or 1 for one in set(users) if one is not None}
            self.users.update((key, one) for one, key in known.items())
            keys = [0 if one is None else known[one] for one in users]
        self.user.add(keys)
        led_by: Iterable[int] = map(neg, keys)
        if causes.count(None) != size:
            led_by = [
                -key if one is None else hash(one) & KEY_MASK
                for one, key in zip(causes, keys, strict=True)
            ]
        self.led_by.add(led_by)

    def _note(self, rows: Sequence[Outcome], kinds: Sequence[int], counts: Counter[int]) -> None:
        """Keep the requests that failed, and whose requests each kind has."""
        failing, alone = set(), set()
        for number, count in counts.items():
            kind = self.kinds[number]
            kind.count += count
            if not kind.ok:
                failing.add(number)
            if kind.asked_by != SEVERAL:
                alone.add(number)
        if failing:
            self.failed += [
                row for row, number in zip(rows, kinds, strict=True) if number in failing
            ]
        if alone:
            for row, number in zip(rows, kinds, strict=True):
                if number in alone:
                    self._note_user(row, self.kinds[number])

    def _note_user(self, row: Outcome, kind: Kind) -> None:
        place = place_of(row.request_id)
        if place is not None:
            kind.note_user(place.user)
