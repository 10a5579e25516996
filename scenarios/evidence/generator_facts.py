"""The load generators of a run that had several elsewhere, as its manifest describes them."""

import msgspec


class GeneratorFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One generator.

    Attributes:
        number: which one, from 1 on.
        name: what it was, such as the name of its pod.
        node: where it ran, if that is known.
        requests: how many requests it recorded.
        clock_error_ns: how far its stamps may be wrong on the run's clock.
        clock_drift_ns: by how much its clock went faster or slower than the run's over the whole
            traffic; the stamps take that into account.
        lost: why a part of its traffic or of its evidence is missing; absent if none is.
    """

    number: int
    name: str
    node: str | None = None
    requests: int = 0
    clock_error_ns: int = 0
    clock_drift_ns: int = 0
    lost: str | None = None
