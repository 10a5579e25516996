"""The messages of the pooler, counted."""

from collections.abc import Iterable

from scenarios.evidence.pooler import PoolerMessage
from scenarios.verdict.model.pooler import PoolerComplaint

_MOST = 10


def complaints(messages: Iterable[PoolerMessage], origin_ns: int) -> tuple[PoolerComplaint, ...]:
    """The most frequent messages, the most frequent one first.

    Args:
        messages: all messages, in any order.
        origin_ns: the instant 0 of the verdict.
    """
    times: dict[str, list[int]] = {}
    for one in messages:
        times.setdefault(one.text, []).append(one.at_ns - origin_ns)
    found = sorted(times.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(
        PoolerComplaint(
            text=text,
            count=len(stamps),
            first=round(min(stamps) / 1e9, 3),
            last=round(max(stamps) / 1e9, 3),
        )
        for text, stamps in found[:_MOST]
    )
