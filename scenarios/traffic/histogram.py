"""Durations of a whole run in a few kilobytes, however long it is.

Buckets as in HdrHistogram (Gil Tene): equal steps within each power of two, so that every value is
kept to three significant digits and counts of several processes can be added. A library's own
recording costs a microsecond or two for each value, several times what this dictionary does; at ten
thousand requests a second that is the difference between noise and a share of the processor.
"""

from collections.abc import Iterable

import msgspec

# 2^10 steps within each power of two: no value is off by more than 1 in 1,024.
_STEP_BITS = 10


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How durations are spread, in seconds."""

    p50: float
    p99: float
    p999: float
    max: float


class Histogram(msgspec.Struct):
    """Counts of durations in ns, each kept to within one part in 1,024.

    Attributes:
        counts: by the lower edges of the buckets.
        count: all of them.
        max_ns: the largest duration, exactly.
    """

    counts: dict[int, int] = msgspec.field(default_factory=dict)
    count: int = 0
    max_ns: int = 0

    def record(self, value_ns: int) -> None:
        """Count a duration; one below 0 counts as 0."""
        value_ns = max(value_ns, 0)
        shift = max(value_ns.bit_length() - 1 - _STEP_BITS, 0)
        bucket = value_ns >> shift << shift
        counts = self.counts
        counts[bucket] = counts.get(bucket, 0) + 1
        self.count += 1
        self.max_ns = max(self.max_ns, value_ns)

    def add(self, other: "Histogram") -> None:
        """Count what another one has counted, as if it had been recorded here."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.count += other.count
        self.max_ns = max(self.max_ns, other.max_ns)

    def quantiles(self, shares: Iterable[float]) -> list[float]:
        """For each share, the value in seconds that at least that share does not exceed.

        The lower edge of its bucket, which is at most one part in 1,024 below it.

        Args:
            shares: from 0 to 1, in ascending order.

        Raises:
            ValueError: nothing was counted.
        """
        if not self.count:
            raise ValueError("there is no quantile of nothing")
        found = []
        buckets = iter(sorted(self.counts.items()))
        bucket, seen = next(buckets)
        for share in shares:
            while seen < share * self.count:
                bucket, count = next(buckets)
                seen += count
            found.append(bucket / 1e9)
        return found

    def quantile(self, share: float) -> float | None:
        """One of them; None when nothing was counted."""
        return self.quantiles((share,))[0] if self.count else None

    def spread(self) -> Spread | None:
        """The quantiles that reports show; None when nothing was counted."""
        if not self.count:
            return None
        p50, p99, p999 = self.quantiles((0.5, 0.99, 0.999))
        return Spread(p50=p50, p99=p99, p999=p999, max=self.max_ns / 1e9)
