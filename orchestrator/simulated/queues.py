"""The queues of all replicas of a ring as columns: many requests at once, each one exactly.

Requests come to the places of the ring in turn, so a round reaches each place at most once. What a
request meets depends on its own replica only. So numpy works a round out at once: which kept
connection each request uses, when it arrives, when a worker is free (Kiefer and Wolfowitz, "On the
theory of queues with many servers", 1955), and when the answer is complete. The rules are the ones
of `exchanges`.

A row holds one number for each place. There are as many rows of connections, and of workers, as any
replica has in use at the same time. The numbers of a place ascend from row to row.
"""

from collections.abc import Sequence
from itertools import pairwise, zip_longest
from typing import NamedTuple

import numpy as np

from orchestrator.simulated.arrays import Bools, Ints
from orchestrator.simulated.events import NEVER
from orchestrator.simulated.replica import SimulatedReplica

_NONE = -NEVER  # a connection that is not open


class Limits(NamedTuple):
    """What decides on the fate of a request.

    Attributes:
        delay_ns: how long a packet takes, in one direction.
        patience_ns: after how long users give up.
        reuse_ns: for how long the balancer uses an idle connection.
        requests: how many requests one replica may have at once.
    """

    delay_ns: int
    patience_ns: int
    reuse_ns: int
    requests: int


class Worked(NamedTuple):
    """What became of requests, in order, as columns.

    Attributes:
        arrives: when each one reaches its replica.
        done: when the replica's answer is complete.
        kept: whether it used a kept connection.
    """

    arrives: Ints
    done: Ints
    kept: Bools


class Queues:
    """The connections and the workers of all replicas of a ring."""

    def __init__(self, replicas: Sequence[SimulatedReplica], limits: Limits, now_ns: int) -> None:
        """Take over what the replicas have; `write_back` gives it back.

        Args:
            replicas: by their places in the ring.
            limits: what decides on the fate of a request.
            now_ns: the present instant.
        """
        self._replicas = replicas
        self._limits = limits
        self._workers = replicas[0].behaviour.workers
        behaviours = [one.behaviour for one in replicas]
        # Up to the first of these ages a connection is safe, from the second one on it is closed.
        # In between the replica may close it while a request is on its way.
        self._safe_ns = _column([one.reusable_ns for one in behaviours])
        self._closed_ns = _column([min(limits.reuse_ns, one.keep_alive_ns) for one in behaviours])
        self._racy = bool(np.any(self._safe_ns < self._closed_ns))
        self._idle_since = _rows([_connections(one) for one in replicas], _NONE)
        busy = [[at for at in sorted(one.free) if at > now_ns] for one in replicas]
        self._free_at = _rows(busy, 0)

    def stay_common(self, more: int, longest_ns: int, now_ns: int) -> bool:
        """Whether no fate can be individual among the next requests to each replica.

        Args:
            more: at most so many of them come to each replica.
            longest_ns: how long a worker takes for one at most.
            now_ns: no request that is still to come comes before this instant.
        """
        limits = self._limits
        waits_ns = max(0, int(self._free_at[-1].max()) - now_ns) + more * longest_ns
        return (
            not self._racy
            and len(self._idle_since) + more < limits.requests
            and waits_ns + 4 * limits.delay_ns <= limits.patience_ns
        )

    def work(self, place: int, at_ns: Ints, services: Ints) -> Worked:
        """Let requests come, the first one to this place, and the others to the places after it.

        Args:
            place: of the first one.
            at_ns: when each one comes.
            services: how long a worker takes for each.

        Returns:
            What became of them, up to the first one whose fate is individual: its connection may
            close on its way, its user gives up before it is answered, or its replica is full.
        """
        count, size = len(at_ns), len(self._replicas)
        arrives, done = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
        kept = np.empty(count, dtype=np.bool_)
        begin = 0
        while begin < count:
            end = min(count, begin + size - place)
            worked = self._round(place, at_ns[begin:end], services[begin:end])
            stop = begin + len(worked.done)
            arrives[begin:stop], done[begin:stop], kept[begin:stop] = worked
            begin, place = stop, 0
            if stop < end:
                break
        return Worked(arrives[:begin], done[:begin], kept[:begin])

    def _round(self, place: int, at: Ints, services: Ints) -> Worked:
        """The same for requests of which no two go to the same place."""
        delay = self._limits.delay_ns
        part = slice(place, place + len(at))
        since = self._latest(part, at)
        age = at - since
        kept: Bools = age < _of(self._safe_ns, part)
        some_new = not kept.all()
        soonest = at + delay
        arrives = at + np.where(kept, delay, 3 * delay) if some_new else soonest
        done = self._begins(part, arrives, soonest) + services
        if some_new or self._some_late(at, done):
            alone = self._individual(part, at, age, done)
            if alone.any():
                stop = int(alone.argmax())
                return self._round(place, at[:stop], services[:stop]) if stop else _NOTHING
        if some_new:
            self._close_old(part, at, ~kept & (since != _NONE))
        self._connect(part, at, done + delay)
        _put(self._free_at[:, part], done)
        return Worked(arrives, done, kept)

    def _latest(self, part: slice, at: Ints) -> Ints:
        """When the connection that each request gets was last answered on; `_NONE`: none is idle.

        It is the one that was idle for the shortest time.
        """
        rows = self._idle_since[:, part]
        found: Ints = np.where(rows[0] <= at, rows[0], _NONE)
        for row in rows[1:]:
            found = np.where(row <= at, row, found)
        return found

    def _begins(self, part: slice, arrives: Ints, soonest: Ints) -> Ints:
        """When a worker begins with each request.

        Workers are taken in the order in which the requests were sent. A later request may arrive
        before this one, on a kept connection, but not before `soonest`: whoever is free then may
        lose its row.
        """
        if len(self._free_at) == self._workers:
            found: Ints = np.maximum(self._free_at[0, part], arrives)
            return found
        # One of the workers without a row is free, unless all that have a row are taken.
        if (self._free_at[0, part] > soonest).any():
            self._free_at = _one_more(self._free_at, 0)
        return arrives

    def _some_late(self, at: Ints, done: Ints) -> bool:
        """Whether some users may give up; at once for all, as they nearly never do."""
        limits = self._limits
        return int(done.max()) + limits.delay_ns - int(at[0]) > limits.patience_ns

    def _individual(self, part: slice, at: Ints, age: Ints, done: Ints) -> Bools:
        limits = self._limits
        found: Bools = done + limits.delay_ns - at > limits.patience_ns
        if self._racy:
            closing = (age >= _of(self._safe_ns, part)) & (age < _of(self._closed_ns, part))
            found |= closing
        if len(self._idle_since) >= limits.requests:
            found |= self._idle_since[0, part] > at
        return found

    def _close_old(self, part: slice, at: Ints, old: Bools) -> None:
        """Close all idle connections where the one that was used last is too old."""
        if old.any():
            rows = self._idle_since[:, part]
            rows[(rows <= at) & old] = _NONE

    def _connect(self, part: slice, at: Ints, answered: Ints) -> None:
        """Let each request have its connection until it is answered."""
        if len(self._idle_since) == 1 and not (self._idle_since[0, part] > at).any():
            self._idle_since[0, part] = answered
            return
        if (self._idle_since[0, part] > at).any():
            self._idle_since = _one_more(self._idle_since, _NONE)
        rows = self._idle_since[:, part]
        new = answered
        for row, above in pairwise(rows):
            # The taken connection is the highest one up to `at`: those below it stay.
            stays = above <= at
            low, new = np.minimum(above, new), np.where(stays, new, np.maximum(above, new))
            row[:] = np.where(stays, row, low)
        rows[-1] = new

    def write_back(self, now_ns: int) -> None:
        """Give the replicas their connections and workers as they are at an instant."""
        workers = self._workers
        idle = self._idle_since.T.tolist()
        free = self._free_at.T.tolist()
        waiting = [0] * (workers - len(self._free_at))
        for replica, since, at in zip(self._replicas, idle, free, strict=True):
            replica.idle[:] = [one for one in since if _NONE < one <= now_ns]
            replica.free[:] = waiting + at


_NOTHING = Worked(
    np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_)
)


def _connections(replica: SimulatedReplica) -> list[int]:
    """When each open connection to a replica is idle, ascending."""
    if not replica.pending:
        return replica.idle
    busy = [one.answered_ns for one in replica.pending if one.answered_ns <= one.due_ns]
    return sorted(replica.idle + busy)


def _rows(columns: Sequence[Sequence[int]], least: int) -> Ints:
    """Rows of these columns, which ascend; what a column lacks is the least number."""
    turned = [column[::-1] for column in columns]
    rows: Ints = np.array(list(zip_longest(*turned, fillvalue=least))[::-1], dtype=np.int64)
    return rows if len(rows) else np.full((1, len(columns)), least, dtype=np.int64)


def _one_more(rows: Ints, least: int) -> Ints:
    more: Ints = np.insert(rows, 0, least, axis=0)
    return more


def _put(rows: Ints, numbers: Ints) -> None:
    """Put a number into each place, instead of the least one there."""
    for row, above in pairwise(rows):
        row[:], numbers = np.minimum(above, numbers), np.maximum(above, numbers)
    rows[-1] = numbers


def _column(numbers: list[int]) -> int | Ints:
    """The numbers of all places; one number where all are equal."""
    return numbers[0] if len(set(numbers)) == 1 else np.array(numbers, dtype=np.int64)


def _of(column: int | Ints, part: slice) -> int | Ints:
    return column if isinstance(column, int) else column[part]
