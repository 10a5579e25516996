"""What became of the data: invariants, and for whom they do not hold."""

from typing import Literal

import msgspec


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One subject for which an invariant does not hold.

    Attributes:
        invariant: the invariant's id.
        subject: whom it is about.
        expected: what should be.
        found: what is.
        requests: the requests about the subject, in order.
        replicas: who answered them.
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
        checked: to how many subjects it applied.
        violations: for how many it did not hold.
    """

    invariant: str
    title: str
    checked: int
    violations: int


class Integrity(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the data.

    Attributes:
        status: `held`; `violated`; `unknown` when no request promised anything; `unchecked` when
            the database was not read.
        checked: subjects that were checked.
        unknown: subjects whose requests may or may not have taken effect.
        recovered: those of them that are there.
        violation_count: all violations.
        violations: the first of them for each invariant.
        invariants: what was checked.
        logged: where it is violated, the errors in the replicas' logs that no failed request
            accounts for, such as those of background work; the most frequent first, at most five.
    """

    status: Literal["held", "violated", "unknown", "unchecked"]
    checked: int = 0
    unknown: int = 0
    recovered: int = 0
    violation_count: int = 0
    violations: tuple[Violation, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    logged: tuple[str, ...] = ()
