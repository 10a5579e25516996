"""Which replica served which request, as the log of a router says it."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

import msgspec

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.outcome import Outcome

_PARTS: Final = 256
_REPLICAS: Final = 1 << 16
"""So many replicas are told apart; a run has far fewer."""


class ServedBy:
    """The replica of each request, by a router's log; eight bytes a request.

    A request is known by 56 bits of its id's hash. Where the log has several lines of one request,
    they name the same replica, or it is not told which of them answered.
    """

    def __init__(self, lines: Iterable[ExchangeRecord]) -> None:
        """Read the log.

        Raises:
            EvidenceError: it comes from a file, and that is damaged.
        """
        numbers: dict[str, int] = {}
        # What has the same low bits is in the same part; in a part their place has the number.
        parts = [array("q") for _ in range(_PARTS)]
        for line in lines:
            if line.backend:
                number = numbers.setdefault(line.backend, len(numbers)) % _REPLICAS
                key = hash(line.request_id)
                parts[key % _PARTS].append(key & -_REPLICAS | number)
        self._parts = [array("q", sorted(part)) for part in parts]
        self._names = list(numbers)

    def __bool__(self) -> bool:
        return bool(self._names)

    def named(self, outcome: Outcome) -> Outcome:
        """The same outcome, with the replica that answered where the answer does not name it."""
        if outcome.served_by is not None or outcome.error is not None:
            return outcome
        name = self._replica(outcome.request_id)
        return outcome if name is None else msgspec.structs.replace(outcome, served_by=name)

    def _replica(self, request_id: str) -> str | None:
        key = hash(request_id)
        part, first = self._parts[key % _PARTS], key & -_REPLICAS
        place = bisect_left(part, first)
        if place == len(part) or part[place] & -_REPLICAS != first:
            return None
        several = place + 1 < len(part) and part[place + 1] & -_REPLICAS == first
        if several and part[place + 1] != part[place]:
            return None
        return self._names[part[place] - first]
