"""What a router counts of each replica's requests: cumulative counts and latencies."""

from typing import NamedTuple


class Latency(NamedTuple):
    """A histogram of how long complete responses took.

    Attributes:
        bounds: the upper bounds of the buckets, in seconds; the last bucket has no bound.
        counts: the responses in each bucket; one more entry than `bounds` has.
        seconds: the sum of all latencies.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    seconds: float = 0.0


class RequestCounts(NamedTuple):
    """Cumulative counts of the requests to one or more replicas.

    Attributes:
        requests: the requests that have ended.
        failed: how many of these got a 5xx or no complete response.
        latency: the latencies of the complete responses.
        in_flight: the requests that have not ended yet.
    """

    requests: int = 0
    failed: int = 0
    latency: Latency = Latency()
    in_flight: int = 0

    def __sub__(self, before: "RequestCounts") -> "RequestCounts":
        """The counts since `before`."""
        earlier = (
            before.latency
            if before.latency.bounds
            else Latency(counts=(0,) * len(self.latency.counts))
        )
        counts = zip(self.latency.counts, earlier.counts, strict=True)
        return RequestCounts(
            self.requests - before.requests,
            self.failed - before.failed,
            Latency(
                self.latency.bounds,
                tuple(now - then for now, then in counts),
                self.latency.seconds - earlier.seconds,
            ),
            self.in_flight,
        )

    def __add__(self, other: "RequestCounts") -> "RequestCounts":  # type: ignore[override]
        """The sum of both."""
        if not other.latency.bounds or not self.latency.bounds:
            latency = max(self.latency, other.latency, key=lambda one: len(one.bounds))
        else:
            counts = zip(self.latency.counts, other.latency.counts, strict=True)
            latency = Latency(
                self.latency.bounds,
                tuple(here + there for here, there in counts),
                self.latency.seconds + other.latency.seconds,
            )
        return RequestCounts(
            self.requests + other.requests,
            self.failed + other.failed,
            latency,
            self.in_flight + other.in_flight,
        )
