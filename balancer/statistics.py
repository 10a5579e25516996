"""Cumulative counters of requests and their outcomes, cheap enough for every exchange."""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

# Upper bounds of the latency buckets, in seconds; the last bucket has none.
BOUNDS: Final[tuple[float, ...]] = (
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256,
    0.512, 1.024, 2.048, 4.096, 8.192, 16.384, 32.768, 65.536,
)  # fmt: skip
_BOUNDS_NS: Final[tuple[int, ...]] = tuple(round(bound * 1e9) for bound in BOUNDS)


class Counters:
    """Counters that only grow.

    Attributes:
        requests: exchanges that ended, and attempts of such that were tried elsewhere again.
        failed: those that ended with a 5xx or without a complete response.
        failed_transport: those that ended without a complete, well-formed response in time.
        aborted: those that the client gave up; they do not count as failures.
        statuses: responses by the first digit of their status, from 1 to 5, at that index.
        consecutive_5xx: 5xx since the last other response.
        consecutive_failures: transport failures since the last complete response.
        latency_sum_ns: from the request to the end of its response, summed.
        buckets: how many of them fell under each of `BOUNDS`, and past all of them.
        bytes_out: body bytes relayed to clients.
    """

    __slots__ = (
        "aborted",
        "buckets",
        "bytes_out",
        "consecutive_5xx",
        "consecutive_failures",
        "failed",
        "failed_transport",
        "latency_sum_ns",
        "requests",
        "statuses",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.failed = 0
        self.failed_transport = 0
        self.aborted = 0
        self.statuses = [0, 0, 0, 0, 0, 0]
        self.consecutive_5xx = 0
        self.consecutive_failures = 0
        self.latency_sum_ns = 0
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.bytes_out = 0

    @property
    def status_5xx(self) -> int:
        """Responses with a status of 500 or more."""
        return self.statuses[5]

    def fail(self) -> None:
        """Count a request that got no complete response."""
        self.requests += 1
        self.failed += 1
        self.failed_transport += 1
        self.consecutive_failures += 1

    def abort(self) -> None:
        """Count a request that its client gave up."""
        self.requests += 1
        self.aborted += 1

    def add(self, other: "Counters") -> None:
        """Add another's counts, except for what is consecutive."""
        self.requests += other.requests
        self.failed += other.failed
        self.failed_transport += other.failed_transport
        self.aborted += other.aborted
        self.latency_sum_ns += other.latency_sum_ns
        self.bytes_out += other.bytes_out
        self.statuses = [a + b for a, b in zip(self.statuses, other.statuses, strict=True)]
        self.buckets = [a + b for a, b in zip(self.buckets, other.buckets, strict=True)]

    def as_dict(self) -> dict[str, object]:
        """These counters as JSON values."""
        return {
            "requests": self.requests,
            "failed": self.failed,
            "failed_transport": self.failed_transport,
            "status_5xx": self.status_5xx,
            "aborted": self.aborted,
            "statuses": {f"{n}xx": count for n, count in enumerate(self.statuses) if n},
            "latency_seconds_sum": self.latency_sum_ns / 1e9,
            "latency_buckets": {
                **{str(bound): count for bound, count in zip(BOUNDS, self.buckets, strict=False)},
                "+Inf": self.buckets[-1],
            },
            "bytes_out": self.bytes_out,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "Counters":
        """Make counters from the result of `as_dict`."""
        counters = cls()
        for name in ("requests", "failed", "failed_transport", "aborted", "bytes_out"):
            setattr(counters, name, data[name])
        statuses, buckets, seconds = (
            data["statuses"],
            data["latency_buckets"],
            data["latency_seconds_sum"],
        )
        if not (isinstance(statuses, Mapping) and isinstance(buckets, Mapping)):
            raise TypeError("statuses and latency_buckets are objects")
        counters.statuses = [0, *statuses.values()]
        counters.buckets = list(buckets.values())
        counters.latency_sum_ns = round(float(str(seconds)) * 1e9)
        return counters


def complete(status: int, latency_ns: int, bytes_out: int, *counters: Counters) -> None:
    """Count a complete response, in several places at once.

    Args:
        status: its status.
        latency_ns: from the request to the response's end.
        bytes_out: of its body.
        counters: where.
    """
    hundred = status // 100
    bucket = bisect_left(_BOUNDS_NS, latency_ns)
    for one in counters:
        one.requests += 1
        one.statuses[hundred] += 1
        one.consecutive_failures = 0
        one.latency_sum_ns += latency_ns
        one.buckets[bucket] += 1
        one.bytes_out += bytes_out
        if hundred == 5:  # noqa: PLR2004 - the class of server errors, RFC 9110 section 15.6
            one.failed += 1
            one.consecutive_5xx += 1
        else:
            one.consecutive_5xx = 0
