"""The queues of a ring as columns: each request meets what it would meet by itself."""

from heapq import heapreplace
from itertools import accumulate
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.simulated.queues import Limits, Queues

DELAY, KEEP_ALIVE, REUSE, PATIENCE = 10, 500, 400, 100_000


def replica(workers: int, idle: list[int]) -> Any:
    """A replica with these idle connections, and with workers that are all free."""
    behaviour = SimpleNamespace(
        workers=workers, reusable_ns=KEEP_ALIVE - 2 * DELAY, keep_alive_ns=KEEP_ALIVE
    )
    return SimpleNamespace(behaviour=behaviour, idle=idle, pending={}, free=[0] * workers)


def one_by_one(workers: int, idle: list[int], sent: list[tuple[int, int]]) -> list[int]:
    """When the answer to each request is complete, if they go one by one, as in `exchanges`.

    Args:
        workers: of the replica.
        idle: since when each of its connections is idle; one may still be busy.
        sent: when each request comes, and how long a worker takes for it.
    """
    free, open_since, found = [0] * workers, sorted(idle), []
    for at, service in sent:
        ready = [one for one in open_since if one <= at]
        kept = bool(ready) and at - ready[-1] < min(REUSE, KEEP_ALIVE - 2 * DELAY)
        if kept:
            open_since.remove(ready[-1])
        else:
            open_since = [one for one in open_since if one > at]
        arrives = at + (DELAY if kept else 3 * DELAY)
        done = max(free[0], arrives) + service
        heapreplace(free, done)
        open_since = sorted([*open_since, done + DELAY])
        found.append(done)
    return found


# The third request comes on a kept connection, and is there before the first two, which open new
# ones. But both workers are theirs.
@example(workers=2, idle=[6], drawn=[(0, 2), (5, 65), (3, 1)])
@given(
    workers=st.integers(1, 4),
    idle=st.lists(st.integers(-50, 60), max_size=4),
    drawn=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 120)), min_size=1, max_size=40),
)
def test_one_replica(workers: int, idle: list[int], drawn: list[tuple[int, int]]) -> None:
    """New and kept connections in any order: workers are taken in the order of the requests."""
    at = list(accumulate(pause for pause, _ in drawn))
    services = [service for _, service in drawn]
    queues = Queues([replica(workers, sorted(idle))], Limits(DELAY, PATIENCE, REUSE, 1000), 0)
    worked = queues.work(0, np.array(at, dtype=np.int64), np.array(services, dtype=np.int64))
    assert worked.done.tolist() == one_by_one(workers, idle, list(zip(at, services, strict=True)))
