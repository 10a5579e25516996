"""Steady stretches of traffic in batches: the same counts as request by request, much faster.

A stretch is steady as long as nobody's fate is individual: the choice is plain round robin, every
replica in it is up, warm, and answers everything with success, and no lock is held. Then only the
queues of the replicas matter, and numpy works them out for all requests of a round at once. Request
k goes to place k of the ring, takes the worker that is free first, and is done after its own
service time (Kiefer and Wolfowitz, "On the theory of queues with many servers", 1955). What is
under way when a stretch ends becomes single requests again.

One thing is simpler than request by request: a round uses kept connections if the gap between two
requests to one replica allows it, all of them or none.
"""

from typing import Any, NamedTuple

import numpy as np

from balancer.backend import Backend
from balancer.backend_pool import BackendPool
from balancer.statistics import BOUNDS
from orchestrator.simulated.arrays import Floats, Ints, at_many
from orchestrator.simulated.events import Events
from orchestrator.simulated.exchanges import Exchanges
from orchestrator.simulated.replica import Behaviour, SimulatedReplica
from orchestrator.simulated.request import AnsweredMany, EndedMany, Request
from orchestrator.simulated.users import Users

_LEAST = 64  # fewer arrivals than this are quicker one by one
_BUSIEST = 0.7  # beyond this share of its workers a replica's queue may become individual
_BOUNDS_NS = np.array([round(bound * 1e9) for bound in BOUNDS], dtype=np.int64)
_BUCKETS = len(BOUNDS) + 1
_MOST_NOTED = 1_000_000
_MOST_SENT = 50_000


class _Sent(NamedTuple):
    """Requests that were sent and are not known to be answered, as columns."""

    numbers: Ints
    places: Ints
    kinds: Ints
    shares: Floats
    at_ns: Ints
    arrives: Ints
    done: Ints


class Batches:
    """Carries out steady stretches.

    Attributes:
        requests: how many requests were part of a batch.
    """

    def __init__(
        self,
        events: Events,
        pool: BackendPool,
        exchanges: Exchanges,
        users: Users,
        ended: EndedMany,
        *,
        delay_ns: int,
        rate: float,
    ) -> None:
        self._events = events
        self._pool = pool
        self._exchanges = exchanges
        self._users = users
        self._ended = ended
        self._delay_ns = delay_ns
        self._rate = rate
        self.requests = 0
        self._ring: tuple[Backend, ...] | None = None
        self._epoch = -1
        self._fit = False
        self._open = False
        self._replicas: list[SimulatedReplica] = []
        self._members: frozenset[Backend] = frozenset()
        self._travel_ns = 0
        self._free: Ints = np.zeros((0, 1), dtype=np.int64)
        self._behaviours: list[Behaviour] = []
        self._versions: Ints = np.zeros(0, dtype=np.int64)
        self._under_way: list[_Sent] = []
        self._latencies: list[tuple[Ints, Ints]] = []
        self._noted = self._sent = 0
        self._new: Ints = np.zeros(0, dtype=np.int64)
        self._buckets: Ints = np.zeros(0, dtype=np.int64)
        self._sums: Ints = np.zeros(0, dtype=np.int64)

    def fit(self) -> bool:
        """Whether the present stretch is steady."""
        ring = self._pool.ring
        if ring is not self._ring or self._epoch != self._exchanges.epoch:
            self.close()
            self._ring, self._epoch = ring, self._exchanges.epoch
            self._fit = self._is_steady(ring)
        return self._fit

    def _is_steady(self, ring: tuple[Backend, ...]) -> bool:
        exchanges = self._exchanges
        if not ring or not exchanges.all_plain or not self._pool.is_plain:
            return False
        replicas = [exchanges.replica_of(one) for one in ring]
        behaviours = {one.behaviour for one in replicas}
        if len({one.workers for one in behaviours}) > 1 or any(one.fail_rate for one in behaviours):
            return False
        if any(status != 200 for one in behaviours for status, _ in one.answers):  # noqa: PLR2004
            return False
        slowest = max(max(one.mean_seconds for one in each.services) for each in behaviours)
        workers = replicas[0].behaviour.workers
        if self._rate / len(ring) * slowest > _BUSIEST * workers:
            return False
        if not all(one.calm for one in replicas):
            return False
        self._replicas = replicas
        self._behaviours = list({one.behaviour: None for one in replicas})
        order = {one: number for number, one in enumerate(self._behaviours)}
        self._versions = np.array([order[one.behaviour] for one in replicas], dtype=np.int64)
        self._members = frozenset(ring)
        gap_ns = len(ring) / self._rate * 1e9
        kept = gap_ns < min(one.reusable_ns for one in behaviours)
        self._travel_ns = self._delay_ns if kept else 3 * self._delay_ns
        return True

    def step(self, last_ns: int) -> None:
        """Carry out all arrivals up to an instant, or up to the first event of another kind.

        Plain answers that are due by then are carried out as well.
        """
        events, users = self._events, self._users
        if not self._open and users.due(last_ns) < _LEAST:
            return
        until_ns = events.run_answers(last_ns, self._members)
        end_ns = last_ns if until_ns > last_ns else until_ns - 1
        while (count := users.due(end_ns)) > 0:
            self._batch(count, end_ns)

    def _batch(self, count: int, end_ns: int) -> None:
        if not self._open:
            self._enter()
        number, at_ns, kinds, shares = self._users.take(count)
        size = len(self._replicas)
        places = (self._pool.rotate(count) + np.arange(count, dtype=np.int64)) % size
        services = self._services(places, kinds, shares)
        arrives = at_ns + self._travel_ns
        done = np.empty(count, dtype=np.int64)
        begin = 0
        while begin < count:
            place = int(places[begin])
            end = min(count, begin + size - place)
            part = self._free[place : place + end - begin]
            soonest = part.argmin(axis=1)
            index = np.arange(end - begin)
            done[begin:end] = np.maximum(part[index, soonest], arrives[begin:end])
            done[begin:end] += services[begin:end]
            part[index, soonest] = done[begin:end]
            begin = end
        self._exchanges.passed(count, int(at_ns[-1]))
        numbers = np.arange(number, number + count, dtype=np.int64)
        sent = _Sent(numbers, places, kinds, shares, at_ns, arrives, done)
        self._under_way.append(sent)
        self._sent += count
        if self._sent > _MOST_SENT:
            self._finish(end_ns)
        self._events.clock.ns = max(self._events.clock.ns, int(at_ns[-1]))

    def _finish(self, until_ns: int) -> None:
        """Count what is answered by an instant, and keep what is not."""
        if not self._under_way:
            return
        columns: list[Any] = list(zip(*self._under_way, strict=True))
        sent = _Sent(*(np.concatenate(each) for each in columns))
        answered = sent.done + self._delay_ns
        over = answered <= until_ns
        places, at_ns, answered = sent.places[over], sent.at_ns[over], answered[over]
        self._count(places, answered - at_ns)
        self.requests += len(places)
        numbers, kinds = sent.numbers[over], sent.kinds[over]
        self._ended.answered_many(
            AnsweredMany(self._ring or (), numbers, places, kinds, at_ns, answered)
        )
        rest: list[Any] = [column[~over] for column in sent]
        left = _Sent(*rest)
        self._under_way, self._sent = [left], len(left.at_ns)

    def _services(self, places: Ints, kinds: Ints, shares: Floats) -> Ints:
        if len(self._behaviours) == 1 and len(self._behaviours[0].services) == 1:
            return at_many(self._behaviours[0].services[0], shares)
        found = np.empty(len(places), dtype=np.int64)
        versions = self._versions[places]
        for number, behaviour in enumerate(self._behaviours):
            for endpoint, service in enumerate(behaviour.services):
                chosen = (versions == number) & (kinds == endpoint)
                found[chosen] = at_many(service, shares[chosen])
        return found

    def _count(self, places: Ints, latencies: Ints) -> None:
        self._new += np.bincount(places, minlength=len(self._replicas))
        self._latencies.append((places, latencies))
        self._noted += len(places)
        if self._noted > _MOST_NOTED:
            self._sort_latencies()

    def _sort_latencies(self) -> None:
        """Sort what was noted into the backends' buckets."""
        if not self._latencies:
            return
        size = len(self._replicas)
        places = np.concatenate([one for one, _ in self._latencies])
        latencies = np.concatenate([one for _, one in self._latencies])
        buckets = np.searchsorted(_BOUNDS_NS, latencies, side="left")
        self._buckets += np.bincount(places * _BUCKETS + buckets, minlength=size * _BUCKETS)
        # Integers below 2^53 are exact in the sums of floats that bincount makes.
        self._sums += np.bincount(places, weights=latencies, minlength=size).astype(np.int64)
        self._latencies, self._noted = [], 0

    def collect(self) -> None:
        """Tell of everything that is answered by now."""
        if self._open:
            self._finish(self._events.clock.ns)

    # In and out

    def _enter(self) -> None:
        self._open = True
        size = len(self._replicas)
        self._free = np.array([one.free for one in self._replicas], dtype=np.int64)
        self._new = np.zeros(size, dtype=np.int64)
        self._buckets = np.zeros(size * _BUCKETS, dtype=np.int64)
        self._sums = np.zeros(size, dtype=np.int64)

    def flush(self, *, latencies: bool = True) -> None:
        """Write what was counted to the backends' counters.

        Args:
            latencies: False: only what health checks by live requests need.
        """
        if not self._open or self._ring is None:
            return
        self._finish(self._events.clock.ns)
        counters = [one.counters for one in self._ring]
        if self._new.any():
            for one, count in zip(counters, self._new.tolist(), strict=True):
                if count:
                    one.requests += count
                    one.statuses[2] += count
                    one.consecutive_failures = one.consecutive_5xx = 0
            self._new[:] = 0
        if latencies:
            self._sort_latencies()
        if latencies and self._sums.any():
            rows = self._buckets.reshape(-1, _BUCKETS).tolist()
            for one, total, row in zip(counters, self._sums.tolist(), rows, strict=True):
                one.latency_sum_ns += total
                one.buckets = [a + b for a, b in zip(one.buckets, row, strict=True)]
            self._buckets[:] = 0
            self._sums[:] = 0

    def close(self) -> None:
        """Write everything back: what follows goes request by request."""
        if not self._open:
            return
        now = self._events.clock.ns
        self.flush()
        self._open = False
        kept = self._travel_ns == self._delay_ns
        for replica, row in zip(self._replicas, np.sort(self._free, axis=1).tolist(), strict=True):
            replica.free[:] = row
            if kept:
                # The connection that was used last was used all the while.
                answered = [at + self._delay_ns for at in row if at + self._delay_ns <= now]
                last = replica.idle.pop() if replica.idle else 0
                replica.idle.append(max([last, *answered]))
        for sent in self._under_way:
            self._resume(sent)
        self._under_way, self._sent = [], 0

    def _resume(self, sent: _Sent) -> None:
        """Make single requests of what is under way."""
        ring, reused = self._ring or (), self._travel_ns == self._delay_ns
        patience = self._users.patience_ns
        for number, place, kind, share, at_ns, arrives, done in zip(
            *(column.tolist() for column in sent), strict=True
        ):
            if reused and self._replicas[place].idle:
                self._replicas[place].idle.pop()
            self._exchanges.under_way(
                Request(number, kind, at_ns, share, at_ns + patience, None),
                ring[place],
                self._replicas[place],
                arrives_ns=arrives,
                done_ns=done,
                reused=reused,
            )
