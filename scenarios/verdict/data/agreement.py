"""The stateless rule: the same read through every replica agrees."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from scenarios.evidence.read import Read
from scenarios.verdict.model import Integrity, Invariant, Violation

STATELESS = "stateless"
TITLE = "every replica gives the same answer to the same read"
LISTED = 20


def with_reads(integrity: Integrity, reads: Iterable[Read]) -> Integrity:
    """The integrity with the stateless rule checked as well; as it was, if nothing was read.

    What most replicas answer is taken for right; of two that differ, the later in the order of
    their ids is named. A replica that does not answer at all says nothing of its state.
    """
    groups: dict[str, list[Read]] = {}
    for read in reads:
        if read.status is not None:
            groups.setdefault(read.key, []).append(read)
    violations = [
        violation
        for key in sorted(groups)
        for violation in _violations(sorted(groups[key], key=lambda read: read.replica))
    ]
    if not groups:
        return integrity
    status = "violated" if violations else integrity.status
    return msgspec.structs.replace(
        integrity,
        status=status,
        violation_count=integrity.violation_count + len(violations),
        violations=(*integrity.violations, *violations[:LISTED]),
        invariants=(
            *integrity.invariants,
            Invariant(
                invariant=STATELESS, title=TITLE, checked=len(groups), violations=len(violations)
            ),
        ),
    )


def _violations(reads: list[Read]) -> Iterable[Violation]:
    answers = Counter(_answer(read) for read in reads)
    usual, _ = answers.most_common(1)[0]
    agreeing = tuple(read.replica for read in reads if _answer(read) == usual)
    for read in reads:
        if _answer(read) != usual:
            yield Violation(
                invariant=STATELESS,
                subject=f"GET {read.path}",
                expected=f"HTTP {usual.status}, as from {', '.join(agreeing)}",
                found=f"HTTP {read.status} from {read.replica}"
                + ("" if read.status != usual.status else ", with another body"),
                replicas=(read.replica,),
            )


class _Answer(NamedTuple):
    status: int | None
    digest: str | None


def _answer(read: Read) -> _Answer:
    return _Answer(read.status, read.digest)
