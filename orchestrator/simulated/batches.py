"""Steady stretches of traffic in batches: the same as request by request, much faster.

A stretch is steady as long as nobody's fate is individual: the choice is plain round robin, every
replica in it is up, warm, and answers everything with success, and no lock is held. Then only the
connections and workers of the replicas matter, and `queues` works them out for a whole round of
requests at once. It stops at a request whose fate is individual after all, and what is under way
when a stretch ends becomes single requests again.
"""

from typing import Any, NamedTuple

import numpy as np

from balancer.backend import Backend
from balancer.backend_pool import BackendPool
from balancer.config import Limits as BalancerLimits
from balancer.statistics import BOUNDS, Counters
from orchestrator.simulated.arrays import Bools, Floats, Ints, at_many
from orchestrator.simulated.chance import Distribution
from orchestrator.simulated.events import Events
from orchestrator.simulated.exchanges import REUSE_NS, Exchanges
from orchestrator.simulated.queues import Limits, Queues
from orchestrator.simulated.replica import SimulatedReplica
from orchestrator.simulated.request import AnsweredMany, EndedMany, Request
from orchestrator.simulated.users import Users

_LEAST = 64  # fewer arrivals than this are quicker one by one
_FEWEST = 8  # with fewer replicas, all arrivals are: a round is too short for numpy
_BUSIEST = 0.7  # beyond this share of its workers a replica's queue may become individual
_ALONE_NS = 1_000_000_000  # for how long no stretch begins after the fate of one was individual
_BOUNDS_NS = np.array([round(bound * 1e9) for bound in BOUNDS], dtype=np.int64)
_BUCKETS = len(BOUNDS) + 1
_NO_PLACES = np.zeros(0, dtype=np.int64)
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
    kept: Bools


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
        self._places: dict[Backend, int] = {}
        self._queues: Queues | None = None
        self._limits = Limits(
            delay_ns, users.patience_ns, REUSE_NS, BalancerLimits().backend_requests
        )
        self._alone_until_ns = 0
        # Whether all arrivals up to an instant certainly have the common fate.
        self._common, self._common_until_ns = False, 0
        self._longest_ns = 0
        self._place, self._last_place = 0, -1
        self._services: list[tuple[Distribution, ...]] = []
        self._versions: Ints = np.zeros(0, dtype=np.int64)
        self._under_way: list[_Sent] = []
        self._latencies: list[tuple[Ints, Ints]] = []
        self._noted = self._sent = 0
        self._counters: list[Counters] = []
        self._new: Ints = np.zeros(0, dtype=np.int64)
        self._waiting: Ints = _NO_PLACES
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
        if len(ring) < _FEWEST or not exchanges.all_plain or not self._pool.is_plain:
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
        behaviours_in_order = list({one.behaviour: None for one in replicas})
        # Versions whose work takes the same time need not be told apart.
        self._services = list({tuple(one.services): None for one in behaviours_in_order})
        order = {one: self._services.index(tuple(one.services)) for one in behaviours_in_order}
        self._versions = np.array([order[one.behaviour] for one in replicas], dtype=np.int64)
        self._places = {one: place for place, one in enumerate(ring)}
        self._longest_ns = max(one.longest_ns for each in behaviours for one in each.services)
        return True

    def takes(self, last_ns: int) -> bool:
        """Whether it sees to all arrivals up to an instant, before or after what else happens.

        Nothing else in the world needs to know of them before the stretch is flushed or closed. So
        as long as no fate can be individual, they are carried out many at a time, afterwards.
        Otherwise it carries them out now, up to the next event of another kind.
        """
        if not self.fit():
            return False
        if not self._open:
            users, events = self._users, self._events
            if users.next_ns > events.next_ns(last_ns) or users.due(last_ns) < _LEAST:
                return False
            if events.clock.ns < self._alone_until_ns:
                return False
            self._enter()
        while self._common and self._common_until_ns < self._events.next_ns(last_ns):
            self._events.passed_ns = self._common_until_ns
            self._complete()
        if self._common:
            return True
        self._step(last_ns)
        return False

    def _look_ahead(self) -> None:
        """Find out up to when no fate can be individual: up to the last user who is drawn."""
        if self._queues is None:
            return
        users = self._users
        more = users.drawn // len(self._replicas) + 2
        self._common_until_ns = users.drawn_until_ns
        self._common = self._queues.stay_common(more, self._longest_ns, users.next_ns)

    def _complete(self) -> None:
        """Carry out what was left for later."""
        if self._open and self._common:
            passed_ns = self._events.passed_ns
            while (count := self._users.due(passed_ns)) > 0:
                self._batch(count, passed_ns)
            self._look_ahead()

    def _step(self, last_ns: int) -> None:
        """Carry out all arrivals up to an instant, or up to the first event of another kind.

        Answers to single requests that are due by then are carried out as well.
        """
        events, users = self._events, self._users
        answers, other_ns = events.answers_until(last_ns, self._places)
        end_ns = last_ns if other_ns > last_ns else other_ns - 1
        until_ns = min(last_ns, other_ns)
        while (count := users.due(end_ns)) > 0:
            if not self._batch(count, end_ns):
                # The next request goes by itself.
                until_ns = events.clock.ns
                self._alone_until_ns = until_ns + _ALONE_NS
                break
        now_ns = events.clock.ns
        events.run(answers, until_ns)
        events.clock.ns = max(now_ns, events.clock.ns)
        if self._alone_until_ns > events.clock.ns:
            self.close()
        else:
            self._look_ahead()

    def _batch(self, count: int, end_ns: int) -> bool:
        """Carry out so many arrivals; returns False if it had to stop before the last one."""
        queues = self._queues or self._enter()
        number, at_ns, kinds, shares = self._users.peek(count)
        size, first = len(self._replicas), self._place
        places = np.arange(first, first + count, dtype=np.int64)
        places %= size
        services = self._work_for(places, kinds, shares)
        worked = queues.work(first, at_ns, services)
        if went := len(worked.done):
            at_ns = at_ns[:went]
            self._users.take(went)
            self._last_place = (first + went - 1) % size
            self._place = (first + went) % size
            self._exchanges.passed(at_ns)
            numbers = np.arange(number, number + went, dtype=np.int64)
            self._under_way.append(
                _Sent(numbers, places[:went], kinds[:went], shares[:went], at_ns, *worked)
            )
            self._sent += went
            last_ns = int(at_ns[-1])
            if self._sent > _MOST_SENT:
                self._finish(end_ns if went == count else last_ns)
            self._events.clock.ns = max(self._events.clock.ns, last_ns)
        return went == count

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

    def _work_for(self, places: Ints, kinds: Ints, shares: Floats) -> Ints:
        """How long a worker takes for each of these requests."""
        if len(self._services) == 1 and len(self._services[0]) == 1:
            return at_many(self._services[0][0], shares)
        found = np.empty(len(places), dtype=np.int64)
        versions = self._versions[places]
        for number, services in enumerate(self._services):
            for endpoint, service in enumerate(services):
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
            self._complete()
            self._finish(self._events.clock.ns)

    # In and out

    def _enter(self) -> Queues:
        self._open = True
        self._place, self._last_place = self._pool.plain_place(), -1
        size = len(self._replicas)
        self._queues = Queues(self._replicas, self._limits, self._events.clock.ns)
        self._counters = [one.counters for one in self._ring or ()]
        self._new = np.zeros(size, dtype=np.int64)
        self._buckets = np.zeros(size * _BUCKETS, dtype=np.int64)
        self._sums = np.zeros(size, dtype=np.int64)
        self._look_ahead()
        return self._queues

    def in_flight(self, backend: Backend) -> int:
        """How many requests of the stretch a backend has under way, as of the last `flush`."""
        place = self._places.get(backend)
        return 0 if place is None or not self._open else int(self._waiting[place])

    def flush(self, *, latencies: bool = True) -> None:
        """Write what was counted to the backends' counters.

        Args:
            latencies: False: only what health checks by live requests need.
        """
        if not self._open or self._ring is None:
            return
        self._complete()
        self._finish(self._events.clock.ns)
        places = self._under_way[0].places if self._under_way else _NO_PLACES
        self._waiting = np.bincount(places, minlength=len(self._replicas))
        counters = self._counters
        if self._new.any():
            for one, count in zip(counters, self._new.tolist(), strict=True):
                if count:
                    one.requests += count
                    one.statuses[2] += count
                    one.consecutive_failures = one.consecutive_5xx = 0
            self._new[:] = 0
        if latencies:
            self._sort_latencies()
        if latencies and self._buckets.any():
            rows = self._buckets.reshape(-1, _BUCKETS).tolist()
            for one, total, row in zip(counters, self._sums.tolist(), rows, strict=True):
                one.latency_sum_ns += total
                one.buckets = [a + b for a, b in zip(one.buckets, row, strict=True)]
            self._buckets[:] = 0
            self._sums[:] = 0

    def close_for(self, backend: Backend) -> None:
        """Write everything back if the stretch has requests of this backend."""
        if backend in self._places:
            self.close()

    def close(self) -> None:
        """Write everything back: what follows goes request by request."""
        if not self._open:
            return
        self.flush()
        if self._queues is not None:
            self._queues.write_back(self._events.clock.ns)
        if self._last_place >= 0:
            self._pool.chosen(self._last_place)
        self._open, self._queues = False, None
        for sent in self._under_way:
            self._resume(sent)
        self._under_way, self._sent = [], 0

    def _resume(self, sent: _Sent) -> None:
        """Make single requests of what is under way."""
        ring, patience = self._ring or (), self._users.patience_ns
        for number, place, kind, share, at_ns, arrives, done, kept in zip(
            *(column.tolist() for column in sent), strict=True
        ):
            self._exchanges.under_way(
                Request(number, kind, at_ns, share, at_ns + patience, None),
                ring[place],
                self._replicas[place],
                arrives_ns=arrives,
                done_ns=done,
                reused=kept,
            )
