"""When each replica answered, so that its silence can be told."""

from array import array
from bisect import bisect_right
from operator import sub
from typing import NamedTuple

from scenarios.evidence.scratch import MemoryScratch, Scratch
from scenarios.verdict.columns.column import NONE, Gathered
from scenarios.verdict.columns.order import ordered
from scenarios.verdict.columns.requests import RequestColumns
from scenarios.verdict.measures.durations import Durations

_LONG = 5


class _Gaps(NamedTuple):
    """The gaps between a replica's answers, as far as one of them can be a silence.

    Attributes:
        answers: how many answers there are.
        long_ns: what is long for the replica: five times the median gap.
        starts: the answers that a longer gap follows.
        ends: for each of them, the next answer.
        first: the first answer of all.
        last: the last one.
    """

    answers: int
    long_ns: int
    starts: "array[int]"
    ends: "array[int]"
    first: int
    last: int

    @classmethod
    def of(cls, answers: "array[int]") -> "_Gaps":
        """The gaps between answers, which are in order; at least one."""
        gaps = array("q", map(sub, memoryview(answers)[1:], answers))
        durations = Durations(MemoryScratch())
        durations.add(gaps)
        middle = (len(gaps) // 2 + 1) / len(gaps) if gaps else 0.0
        (usual,) = Durations.percentiles([durations], (middle,))
        long_ns = _LONG * (usual or 0)
        places = [place for place, gap in enumerate(gaps) if gap > long_ns]
        return cls(
            answers=len(answers),
            long_ns=long_ns,
            starts=array("q", [answers[place] for place in places]),
            ends=array("q", [answers[place + 1] for place in places]),
            first=answers[0],
            last=answers[-1],
        )

    def silent(self, start_ns: int, end_ns: int) -> bool:
        """Whether there is no answer in that time, which is long."""
        if end_ns - start_ns < self.long_ns or self.answers < _LONG:
            return False
        if end_ns < self.first or start_ns >= self.last:
            return True
        place = bisect_right(self.starts, start_ns) - 1
        return place >= 0 and end_ns < self.ends[place]


class AnswerTimes:
    """When every replica began to answer; of each only its silences are kept in memory."""

    def __init__(self) -> None:
        self._columns: RequestColumns | None = None
        self._scratch: Scratch = MemoryScratch()
        self._answers: dict[str, Gathered] = {}
        self._gaps: dict[str, _Gaps] = {}

    def use(self, columns: RequestColumns) -> None:
        """Take note of all requests."""
        self._columns, self._scratch = columns, columns.scratch

    def hear(self, replica: str, at_ns: int) -> None:
        """Take note of one more answer of a replica."""
        self._of(replica).latest.append(at_ns)
        self._gaps.pop(replica, None)

    def silent(self, replica: str | None, start_ns: int, end_ns: int) -> bool:
        """Whether a replica answered nobody in that time, which is long for it.

        Long is five times the median gap between its answers, in the whole run.
        """
        if replica is None or not len(self._of(replica)):
            return False
        if replica not in self._gaps:
            self._gaps[replica] = _Gaps.of(ordered(self._of(replica)))
        return self._gaps[replica].silent(start_ns, end_ns)

    def _of(self, replica: str) -> Gathered:
        """The answers of a replica; those of all replicas are gathered at once."""
        if self._columns is not None:
            columns, self._columns = self._columns, None
            mine = [
                None if kind.served_by is None else self._of(kind.served_by)
                for kind in columns.kinds
            ]
            for first_bytes, kinds in zip(columns.first_byte, columns.kind, strict=True):
                for at_ns, number in zip(first_bytes, kinds, strict=True):
                    answers = mine[number]
                    if answers is not None and at_ns != NONE:
                        answers.latest.append(at_ns)
                for number in set(kinds):
                    answers = mine[number]
                    if answers is not None:
                        answers.flush()
        if replica not in self._answers:
            self._answers[replica] = Gathered(self._scratch)
        return self._answers[replica]
