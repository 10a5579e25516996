"""The load generators of a verdict whose load came from several elsewhere."""

import msgspec


class GeneratorSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One load generator that did not run beside the harness.

    Attributes:
        number: which one, from 1 on.
        name: what it was, such as the name of its pod.
        node: where it ran, if that is known.
        requests: how many requests it recorded.
        clock_error: how far its times may be wrong against those of the run, in seconds.
        clock_drift: by how much its clock and the run's drifted apart over the run, in seconds; its
            times take that into account.
        lost: why a part of its requests is missing; absent if none is.
    """

    number: int
    name: str
    node: str | None
    requests: int
    clock_error: float
    clock_drift: float
    lost: str | None = None
