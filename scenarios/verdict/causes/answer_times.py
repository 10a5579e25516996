"""When each replica answered, so that its silence can be told."""

from array import array
from bisect import bisect_right
from itertools import pairwise

_LONG = 5


class AnswerTimes:
    """The answers of every replica; eight bytes each."""

    def __init__(self) -> None:
        self._answers: dict[str, array[int]] = {}
        self._usual: dict[str, int] = {}

    def hear(self, replica: str, at_ns: int) -> None:
        """Take note of an answer of a replica."""
        answers = self._answers.get(replica)
        if answers is None:
            answers = self._answers[replica] = array("q")
        answers.append(at_ns)
        self._usual.pop(replica, None)

    def silent(self, replica: str | None, start_ns: int, end_ns: int) -> bool:
        """Whether a replica answered nobody in that time, which is long for it.

        Long is five times the median gap between its answers, in the whole run.
        """
        if replica is None or replica not in self._answers:
            return False
        answers = self._ordered(replica)
        if end_ns - start_ns < _LONG * self._usual[replica] or len(answers) < _LONG:
            return False
        return bisect_right(answers, start_ns) == bisect_right(answers, end_ns)

    def _ordered(self, replica: str) -> "array[int]":
        if replica not in self._usual:
            ordered = array("q", sorted(self._answers[replica]))
            gaps = sorted(later - one for one, later in pairwise(ordered))
            self._answers[replica] = ordered
            self._usual[replica] = gaps[len(gaps) // 2] if gaps else 0
        return self._answers[replica]
