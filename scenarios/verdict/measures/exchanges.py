"""The balancer's access log in columns, and what it says that the client's record does not."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import compress, repeat, zip_longest
from operator import and_, xor

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.scratch import Scratch
from scenarios.verdict.columns.column import Column, batches
from scenarios.verdict.columns.requests import KEY_MASK, RequestColumns
from scenarios.verdict.model.rescued import Rescued

MOST_WAITING = 200_000
"""So many answers of one record wait in memory for their counterpart in the other one."""

HELD_NS = 50_000_000
"""A request that waited for a replica for less was not held: the balancer was just busy."""

_SERVER_ERROR = 500


class Exchanges:
    """Every exchange that the balancer logged; they may come in any order.

    Attributes:
        kept: the lines of wanted requests, by request id.
    """

    def __init__(self, prefix: str, wanted: AbstractSet[str], scratch: Scratch) -> None:
        """Begin with nothing.

        Args:
            prefix: what the ids of all planned requests begin with.
            wanted: the ids of the requests whose lines are kept.
            scratch: where the columns are kept.
        """
        self.kept: dict[str, ExchangeRecord] = {}
        self._prefix = prefix
        self._wanted = wanted
        self._names, self._statuses = Column(scratch), Column(scratch, "i")
        self._retried = self._closed = self._held = 0

    def read(self, lines: Iterable[ExchangeRecord]) -> None:
        """Take all lines."""
        for batch in batches(lines):
            self._add(batch)

    def merge(self, other: "Exchanges") -> None:
        """Add the lines that follow; the other must not be used again."""
        self.kept |= other.kept
        self._names.merge(other._names)  # noqa: SLF001 - of the same class
        self._statuses.merge(other._statuses)  # noqa: SLF001 - of the same class
        self._retried += other._retried  # noqa: SLF001 - of the same class
        self._closed += other._closed  # noqa: SLF001 - of the same class
        self._held += other._held  # noqa: SLF001 - of the same class

    def _add(self, batch: Sequence[ExchangeRecord]) -> None:
        ids, statuses = [one.request_id for one in batch], [one.status for one in batch]
        ends = [one.end for one in batch]
        for line in compress(batch, map(self._wanted.__contains__, ids)):
            self.kept[line.request_id] = line
        if (
            max([one.attempts for one in batch]) > 1
            or max([one.wait_ns for one in batch]) >= HELD_NS
        ):
            for line in batch:
                if line.status is not None and line.status < _SERVER_ERROR:
                    self._retried += line.attempts > 1
                    self._closed += line.attempts > 1 and line.resent
                    self._held += line.wait_ns >= HELD_NS
        names: Iterable[int] = map(and_, map(hash, ids), repeat(KEY_MASK))
        known: Iterable[int] = [status or 0 for status in statuses]
        prefix = self._prefix
        # What lies between two texts with the same prefix has it as well.
        ours = min(ids).startswith(prefix) and max(ids).startswith(prefix)
        if not ours or ends.count("complete") != len(ends):
            complete = [
                end == "complete" and one.startswith(prefix)
                for one, end in zip(ids, ends, strict=True)
            ]
            names, known = compress(names, complete), compress(known, complete)
        self._names.add(names)
        self._statuses.add(known)

    def rescued(self, died: int) -> Rescued:
        """The exchanges that ended well although a replica failed them, or none was there.

        Args:
            died: how many replicas ended by themselves, in service.
        """
        return Rescued(retried=self._retried, closed=self._closed, held=self._held, died=died)

    def contradictions(self, requests: RequestColumns) -> int:
        """How many complete answers the balancer sent that the generator's record denies.

        Only requests of the plan are compared, by the prefix that their ids share. A client may
        have given up at the very moment when the answer was sent, so one without an answer denies
        nothing.
        """
        denied = self._unanswered(requests)
        if not denied:
            return 0
        lines = [
            (name, status)
            for names, statuses in zip(self._names, self._statuses, strict=True)
            for name, status in zip(names, statuses, strict=True)
            if name ^ status in denied
        ]
        without = {name for name, _ in lines}
        silent = {name for names in _silent(requests) for name in without.intersection(names)}
        return sum(name not in silent for name, _ in lines)

    def _unanswered(self, requests: RequestColumns) -> set[int]:
        """The complete answers, as a number, that no request of the record has."""
        denied: set[int] = set()
        missing: set[int] = set()
        unused: set[int] = set()
        logged = (
            set(map(xor, names, statuses))
            for names, statuses in zip(self._names, self._statuses, strict=True)
        )
        # Both records are in order of time, so that nearly all lines are found close by, whichever
        # of the two is ahead. What is not found so is looked for in the whole record.
        for mine, theirs in zip_longest(_answers(requests), logged, fillvalue=set[int]()):
            unused |= mine
            missing |= theirs
            both = unused & missing
            unused -= both
            missing -= both
            if len(unused) > MOST_WAITING:
                unused.clear()
            if len(missing) > MOST_WAITING:
                denied |= _without(missing, _answers(requests))
                missing.clear()
        return denied | _without(missing, _answers(requests))


def _without(logged: set[int], answers: Iterable[set[int]]) -> set[int]:
    """Those of the logged answers that are none of these."""
    left = set(logged)
    for mine in answers if left else ():
        left -= mine
    return left


def _answers(requests: RequestColumns) -> Iterator[set[int]]:
    """The answers that the record has of requests that were sent, each as a number, in batches."""
    statuses = [kind.status or 0 for kind in requests.kinds]
    sent = requests.marked(lambda kind: kind.dispatched)
    for names, kinds in zip(requests.name, requests.kind, strict=True):
        answers = map(xor, names, map(statuses.__getitem__, kinds))
        yield set(compress(answers, map(sent.__getitem__, kinds)))


def _silent(requests: RequestColumns) -> "Iterator[Iterable[int]]":
    """The ids, as numbers, of requests that were sent and got no complete answer, in batches."""
    silent = requests.marked(lambda kind: kind.dispatched and not kind.status)
    for names, kinds in zip(requests.name, requests.kind, strict=True):
        yield compress(names, map(silent.__getitem__, kinds))
