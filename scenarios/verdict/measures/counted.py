"""Requests that were only counted, beside those that are known one by one."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import itemgetter

from scenarios.evidence.counted import SLOT_NS, CountedRequests, Slot
from scenarios.verdict.measures.slo import Ordered

FINE, COARSE = 1000, 4
"""At most so many items stand for the requests of a slot: with failures in it, and without."""


def with_counted(single: Ordered, counted: Iterable[CountedRequests]) -> Ordered:
    """All requests in order: those that are known, and items that stand for the counted ones.

    The items of a slot are evenly spread over it. So the begin and the end of an outage are known
    to a tenth of a second, and the share of failures within it to one part in a thousand.
    """
    failing = {
        planned // SLOT_NS
        for planned, bad in zip(single.planned, single.failed, strict=True)
        if bad
    }
    slots = chain.from_iterable(line.slots() for line in counted)
    items = [(planned, bad, 1) for planned, bad in zip(single.planned, single.failed, strict=True)]
    for slot in slots:
        most = FINE if slot.at_ns // SLOT_NS in failing else COARSE
        items += [(planned, 0, weight) for planned, weight in spread(slot, most)]
    items.sort(key=itemgetter(0))
    return Ordered(
        array("q", (planned for planned, _, _ in items)),
        bytes(bad for _, bad, _ in items),
        array("q", (weight for _, _, weight in items)),
    )


def spread(slot: Slot, most: int) -> Iterator[tuple[int, int]]:
    """Items that stand for the requests of a slot: when, and for how many."""
    items = min(most, slot.requests)
    each, rest = divmod(slot.requests, items)
    for number in range(items):
        at_ns = slot.at_ns + (2 * number + 1) * SLOT_NS // (2 * items)
        yield at_ns, each + (number < rest)
