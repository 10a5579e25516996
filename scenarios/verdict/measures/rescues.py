"""Requests that the balancer saved: PURE, from its access log."""

from collections.abc import Iterable, Iterator

from scenarios.evidence.exchange import ExchangeRecord
from scenarios.verdict.model.rescued import Rescued

HELD_NS = 50_000_000
"""A request that waited for a replica for less was not held: the balancer was just busy."""

_SERVER_ERROR = 500


class Rescues:
    """Counts the exchanges that ended well although a replica failed them, or none was there."""

    def __init__(self) -> None:
        self._retried = self._held = 0

    def reading(self, lines: Iterable[ExchangeRecord]) -> Iterator[ExchangeRecord]:
        """The same lines; what the balancer saved is counted by the way."""
        for line in lines:
            if line.status is not None and line.status < _SERVER_ERROR:
                self._retried += line.attempts > 1
                self._held += line.wait_ns >= HELD_NS
            yield line

    def rescued(self, died: int) -> Rescued:
        """What it comes to.

        Args:
            died: how many replicas ended by themselves, in service.
        """
        return Rescued(retried=self._retried, held=self._held, died=died)
