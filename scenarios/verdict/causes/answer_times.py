"""When each replica answered, so that its silence can be told."""

from array import array
from bisect import bisect_right
from itertools import islice
from operator import sub

from scenarios.evidence.scratch import MemoryScratch
from scenarios.verdict.columns.column import NONE
from scenarios.verdict.columns.order import ordered
from scenarios.verdict.columns.requests import RequestColumns
from scenarios.verdict.measures.durations import Durations

_LONG = 5


class AnswerTimes:
    """When every replica began to answer; eight bytes an answer, once somebody asks."""

    def __init__(self) -> None:
        self._columns: RequestColumns | None = None
        self._answers: dict[str, array[int]] = {}
        self._usual: dict[str, int] = {}

    def use(self, columns: RequestColumns) -> None:
        """Take note of all requests."""
        self._columns = columns

    def hear(self, replica: str, at_ns: int) -> None:
        """Take note of one more answer of a replica."""
        self._of(replica).append(at_ns)
        self._usual.pop(replica, None)

    def silent(self, replica: str | None, start_ns: int, end_ns: int) -> bool:
        """Whether a replica answered nobody in that time, which is long for it.

        Long is five times the median gap between its answers, in the whole run.
        """
        if replica is None or not self._of(replica):
            return False
        answers = self._ordered(replica)
        if end_ns - start_ns < _LONG * self._usual[replica] or len(answers) < _LONG:
            return False
        return bisect_right(answers, start_ns) == bisect_right(answers, end_ns)

    def _of(self, replica: str) -> "array[int]":
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
                        answers.append(at_ns)
        return self._answers.setdefault(replica, array("q"))

    def _ordered(self, replica: str) -> "array[int]":
        if replica not in self._usual:
            answers = self._answers[replica] = ordered(self._answers[replica])
            gaps = Durations(MemoryScratch())
            gaps.add(array("q", map(sub, islice(answers, 1, None), answers)))
            middle = (len(gaps) // 2 + 1) / len(gaps) if len(gaps) else 0.0
            (usual,) = Durations.percentiles([gaps], (middle,))
            self._usual[replica] = usual or 0
        return self._answers[replica]
