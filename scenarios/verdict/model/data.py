"""The state of the data after a run: which invariants hold, and for which subjects they do not."""

from typing import Literal

import msgspec


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One subject for which an invariant does not hold.

    Attributes:
        invariant: the invariant's id.
        subject: the subject, such as a user's address.
        expected: what should be in the data.
        found: what is there instead.
        requests: the ids of the requests about the subject, in order.
        replicas: the replicas that answered them.
    """

    invariant: str
    subject: str
    expected: str
    found: str
    requests: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()


class Invariant(msgspec.Struct, frozen=True, kw_only=True):
    """One promise about the data.

    Attributes:
        invariant: its id.
        title: the promise.
        checked: how many subjects it applied to.
        violations: how many subjects it did not hold for.
    """

    invariant: str
    title: str
    checked: int
    violations: int


class Integrity(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the data after a run.

    Attributes:
        status: `held`; `violated`; `unknown` if no request promised anything; `unchecked` if the
            database was not read.
        checked: how many subjects were checked.
        unknown: how many subjects had requests that may or may not have taken effect.
        recovered: how many of the `unknown` subjects are in the data.
        violation_count: how many violations there are.
        violations: the first violations of each invariant.
        invariants: the invariants that were checked.
        logged: if an invariant is violated, the errors in the replicas' logs that belong to no
            failed request, such as errors of background work; at most the five most frequent.
    """

    status: Literal["held", "violated", "unknown", "unchecked"]
    checked: int = 0
    unknown: int = 0
    recovered: int = 0
    violation_count: int = 0
    violations: tuple[Violation, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    logged: tuple[str, ...] = ()
