"""The pure decisions: the pool, health, outliers, the budget, the queue, the wheel, the events."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from balancer.backend import TRANSITIONS, Backend, State
from balancer.backend_pool import BackendPool, Change
from balancer.errors import ConflictError, IllegalTransitionError, UnknownBackendError
from balancer.events import EventLog
from balancer.health import HealthPolicy, ProbeResult, Streak
from balancer.hold_queue import HoldPolicy, HoldQueue
from balancer.outlier_detection import OutlierDetector, OutlierPolicy
from balancer.proxy.timing_wheel import TimingWheel, ticks
from balancer.retry_budget import RetryBudget
from balancer.statistics import Counters, complete
from tests.support.balancer import watched_deadline


def pool_of(*weights: float, shuffle: Callable[[list[Backend]], None] | None = None) -> BackendPool:
    pool = BackendPool(shuffle=shuffle)
    for number, weight in enumerate(weights):
        one = pool.attach(f"a-{number}", host="h", port=number + 1, version="a", weight=weight)
        pool.mark(one, State.UP)
    return pool


def in_state(state: State) -> tuple[BackendPool, Backend, list[Change]]:
    changes: list[Change] = []
    pool = BackendPool(changes.append)
    one = pool.attach("a-1", host="h", port=1, version="a", weight=1)
    path = {
        State.NEW: [],
        State.UP: [State.UP],
        State.DOWN: [State.UP, State.DOWN],
        State.DRAINING: [State.DRAINING],
        State.REMOVED: [State.DRAINING, State.REMOVED],
    }[state]
    for step in path:
        pool.mark(one, step)
    changes.clear()
    return pool, one, changes


@pytest.mark.parametrize("start", State)
@pytest.mark.parametrize("goal", State)
def test_the_lifecycle_is_its_table(start: State, goal: State) -> None:
    """A step of the table is made and told; any other raises and changes nothing (M2)."""
    pool, one, changes = in_state(start)
    if goal in TRANSITIONS[start]:
        pool.mark(one, goal)
        assert one.state is goal
        assert changes[0].what == goal.value
    else:
        with pytest.raises(IllegalTransitionError):
            pool.mark(one, goal)
        assert (one.state, changes) == (start, [])


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 4))
def test_shares_are_exact(weights: list[int], rounds: int) -> None:
    """Over each round of as many picks as the weights sum to, each gets just its weight (C1)."""
    pool = pool_of(*weights)
    for _ in range(rounds):
        picks = Counter(pick(pool) for _ in range(sum(weights)))
        assert [picks[f"a-{n}"] for n in range(len(weights))] == weights


@given(st.integers(2, 6), st.integers(0, 1 << 32))
def test_two_balancers_in_a_row_are_not_in_step(size: int, seed: int) -> None:
    """With `--shuffle` each round is as even, and every backend meets every one behind it (C1)."""
    before = pool_of(*[1.0] * size)
    behind = pool_of(*[1.0] * size, shuffle=random.Random(seed).shuffle)
    pairs = set[tuple[str, str]]()
    for _ in range(40 * size):
        rounds = [(pick(before), pick(behind)) for _ in range(size)]
        assert {one for _, one in rounds} == {f"a-{n}" for n in range(size)}
        pairs.update(rounds)
    assert len(pairs) == size * size


@given(st.lists(st.sampled_from([1.0, 2.5, 0.1, 7.0]), min_size=2, max_size=5))
def test_shares_are_smooth(weights: list[float]) -> None:
    """No backend is ever a whole turn ahead of its share (C1)."""
    pool = pool_of(*weights)
    picks: Counter[str] = Counter()
    for number in range(1, 60):
        picks[pick(pool)] += 1
        for place, weight in enumerate(weights):
            share = number * weight / sum(weights)
            assert abs(picks[f"a-{place}"] - share) < len(weights)


def pick(pool: BackendPool) -> str:
    one = pool.acquire()
    assert one is not None
    pool.release(one)
    return one.id


def test_a_choice_passes_over_what_was_tried() -> None:
    """A backend that was tried for this request is not chosen for it again (C2)."""
    pool = pool_of(1, 1)
    first = pool.acquire()
    assert first is not None
    second = pool.acquire((first,))
    assert second is not None
    assert second is not first
    assert pool.acquire((first, second)) is None


def test_weights_are_all_or_none() -> None:
    """A set of weights with one that is wrong changes nothing (M6)."""
    pool = pool_of(1, 1)
    with pytest.raises(UnknownBackendError):
        pool.set_weights({"a-0": 5, "zz": 1})
    with pytest.raises(ConflictError):
        pool.set_weights({"a-0": 5, "a-1": -1})
    with pytest.raises(ConflictError):
        pool.set_weights({"a-0": float("nan")})
    assert [one.weight for one in pool.backends] == [1, 1]


def test_the_active_set_is_never_empty() -> None:
    """An empty active set is refused (M6)."""
    with pytest.raises(ConflictError):
        pool_of(1).set_active([])


def test_the_last_one_is_never_ejected() -> None:
    """Passive health takes no backend out when no other would be left (O1)."""
    pool = pool_of(1, 1)
    first, second = pool.backends
    assert pool.eject(first, "test")
    assert not pool.eject(second, "test")
    pool.mark(second, State.DOWN)
    assert pool.ring == (first,), "an ejected one is better than none"
    pool.mark(second, State.UP)
    pool.restore(first)
    assert set(pool.ring) == {first, second}


class Rollouts(RuleBasedStateMachine):
    """Anything that an orchestrator and live traffic can do, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.idle: list[str] = []
        self.pool = BackendPool(self.heard)
        self.claims: list[Backend] = []

    def heard(self, change: Change) -> None:
        if change.what == "idle" and change.backend is not None:
            self.idle.append(change.backend.id)

    @rule(number=st.integers(0, 5), weight=st.sampled_from([0.0, 1.0, 2.0]))
    def attach(self, number: int, weight: float) -> None:
        try:
            self.pool.attach(f"a-{number}", host="h", port=number, version="a", weight=weight)
        except ConflictError:
            assert self.pool.get(f"a-{number}").state is State.DRAINING

    @rule(number=st.integers(0, 5), state=st.sampled_from(list(State)))
    def mark(self, number: int, state: State) -> None:
        try:
            one = self.pool.get(f"a-{number}")
            if state is not State.REMOVED:
                self.pool.mark(one, state)
        except (UnknownBackendError, IllegalTransitionError):
            pass

    @rule(number=st.integers(0, 5))
    def remove(self, number: int) -> None:
        with contextlib.suppress(UnknownBackendError):
            self.pool.remove(f"a-{number}")

    @rule()
    def claim(self) -> None:
        one = self.pool.acquire()
        if one is not None:
            assert one.state is State.UP
            assert one.weight > 0
            self.claims.append(one)
        else:
            assert not any(b.routable for b in self.pool.backends)

    @rule()
    def release(self) -> None:
        if self.claims:
            one = self.claims.pop()
            self.idle.clear()
            self.pool.release(one)
            ended = one.state is State.DRAINING and one not in self.claims
            assert (one.id in self.idle) == ended

    @rule(data=st.data())
    def switch(self, data: st.DataObject) -> None:
        ids = [one.id for one in self.pool.backends]
        if ids:
            chosen = data.draw(st.lists(st.sampled_from(ids), min_size=1, unique=True))
            before = [(one.id, one.weight) for one in self.pool.backends]
            try:
                self.pool.set_active(chosen)
            except ConflictError:
                assert [(one.id, one.weight) for one in self.pool.backends] == before
            else:
                assert {one.id for one in self.pool.ring} <= set(chosen)

    @invariant()
    def claims_are_counted(self) -> None:
        for one in self.pool.backends:
            assert one.in_flight == self.claims.count(one)

    @invariant()
    def the_ring_is_what_is_routable(self) -> None:
        assert set(self.pool.ring) == {one for one in self.pool.backends if one.routable}


TestRollouts = Rollouts.TestCase


# Health


def test_rise_and_fall() -> None:
    """`rise` good checks in a row admit, `fall` bad ones in a row take out, no fewer (H1)."""
    streak = Streak(HealthPolicy(rise=2, fall=3))
    results = [ProbeResult.PASSED, ProbeResult.FAILED, ProbeResult.PASSED, ProbeResult.PASSED]
    assert [streak.observe(State.NEW, one) for one in results] == [None, None, None, State.UP]
    results = [
        ProbeResult.FAILED,
        ProbeResult.FAILED,
        ProbeResult.PASSED,
        *[ProbeResult.FAILED] * 3,
    ]
    found = [streak.observe(State.UP, one) for one in results]
    assert found == [None] * 5 + [State.DOWN]


def test_a_refused_check_is_proof() -> None:
    """One refused check takes an UP backend DOWN; a NEW one stays new (H4)."""
    streak = Streak(HealthPolicy(fall=3))
    assert streak.observe(State.UP, ProbeResult.REFUSED) is State.DOWN
    assert streak.observe(State.NEW, ProbeResult.REFUSED) is None


@given(st.lists(st.sampled_from(list(ProbeResult)), max_size=20))
def test_no_check_brings_a_draining_backend_back(probes: list[ProbeResult]) -> None:
    """Whatever the checks say, draining and removed backends go nowhere (M4)."""
    streak = Streak(HealthPolicy(rise=1, fall=1))
    for probe in probes:
        assert streak.observe(State.DRAINING, probe) is None
        assert streak.observe(State.REMOVED, probe) is None


def test_checks_are_fast_near_a_change() -> None:
    """Checks come fast while a backend is new or a row has begun, with jitter around it (H5)."""
    policy = HealthPolicy(interval=1.0, fast_interval=0.25, jitter=0.1)
    streak = Streak(policy)
    assert streak.pause(State.NEW, 0.5) == 0.25
    assert streak.pause(State.UP, 0.5) == 1.0
    assert streak.pause(State.UP, 0.0) == pytest.approx(0.9)
    assert streak.pause(State.UP, 1.0) == pytest.approx(1.1)
    streak.observe(State.UP, ProbeResult.FAILED)
    assert streak.pause(State.UP, 0.5) == 0.25


@pytest.mark.parametrize("state", [State.NEW, State.UP, State.DOWN])
def test_a_backend_that_is_up_may_be_left_alone(state: State) -> None:
    """Without active checks, checks only admit backends and follow up what was seen (H6)."""
    streak = Streak(HealthPolicy(active=False))
    assert (streak.pause(state, 0.5) is None) == (state is State.UP)
    streak.observe(State.UP, ProbeResult.FAILED)
    assert streak.pause(State.UP, 0.5) == 0.25
    streak.observe(State.UP, ProbeResult.PASSED)
    assert streak.pause(State.UP, 0.5) is None


def test_expected_statuses() -> None:
    """Only expected statuses pass; the shutdown status drains (H3)."""
    policy = HealthPolicy(expect=((200, 299), (304, 304)), leaving=503)
    judged = [policy.judge(status) for status in (200, 299, 302, 304, 404, 503)]
    names = ["PASSED", "PASSED", "FAILED", "PASSED", "FAILED", "LEAVING"]
    assert judged == [ProbeResult[name] for name in names]


# Outlier detection


def traffic(one: Backend, *, good: int = 0, bad: int = 0, seconds: float = 0.01) -> None:
    for _ in range(good):
        complete(200, round(seconds * 1e9), 0, one.counters)
    for _ in range(bad):
        one.counters.fail()
    if good and bad:
        complete(200, round(seconds * 1e9), 0, one.counters)  # no row of failures


def sweep(policy: OutlierPolicy, **by_id: dict[str, float]) -> dict[str, str]:
    pool = pool_of(*[1.0] * len(by_id))
    outliers = OutlierDetector(policy)
    assert outliers.sweep(pool.backends, 0) == []
    for one, kinds in zip(pool.backends, by_id.values(), strict=True):
        traffic(one, **kinds)  # type: ignore[arg-type]
    names = list(by_id)
    return {
        names[int(verdict.backend.id[2:])]: verdict.reason or ""
        for verdict in outliers.sweep(pool.backends, 1)
    }


def test_failures_in_a_row() -> None:
    """So many failures in a row eject, one fewer does not (O1)."""
    policy = OutlierPolicy(consecutive=5, failure_rate=0)
    found = sweep(policy, bad={"bad": 5}, close={"bad": 4}, good={"good": 9})
    assert found == {"bad": "5 failures in a row"}


def test_failure_rate() -> None:
    """A failure rate over the limit and twice that of the others ejects (O2)."""
    policy = OutlierPolicy(consecutive=0, failure_rate=0.5, share=1.0)
    found = sweep(
        policy, bad={"good": 30, "bad": 60}, fine={"good": 90, "bad": 5}, few={"good": 1, "bad": 9}
    )
    assert list(found) == ["bad"]
    everywhere = {"good": 30, "bad": 60}
    assert sweep(policy, one=everywhere, two=everywhere, three=everywhere) == {}


def test_latency() -> None:
    """A median latency far over that of the others ejects (O3)."""
    policy = OutlierPolicy(consecutive=0, failure_rate=0, latency_factor=3)
    slow, quick = {"good": 50, "seconds": 0.5}, {"good": 50, "seconds": 0.01}
    assert list(sweep(policy, slow=slow, one=quick, two=quick)) == ["slow"]
    assert sweep(policy, one=slow, two=slow, three=slow) == {}


def test_an_apps_5xx_counts_only_if_asked() -> None:
    """5xx eject only when the policy says so (O4)."""
    for count, expected in ((False, 0), (True, 1)):
        pool = pool_of(1, 1)
        outliers = OutlierDetector(OutlierPolicy(consecutive=5, count_5xx=count))
        for _ in range(9):
            complete(500, 1, 0, pool.backends[0].counters)
        assert len(outliers.sweep(pool.backends, 0)) == expected


def test_ejections_grow_and_end() -> None:
    """The n-th ejection is n times as long, 300 seconds at most, and then it is over (O5)."""
    pool = pool_of(1, 1)
    one = pool.backends[0]
    outliers = OutlierDetector(OutlierPolicy(seconds=10))
    assert [outliers.ejected(one, 0.0) for _ in range(3)] == [10, 20, 30]
    pool.eject(one, "test")
    assert outliers.sweep(pool.backends, 29.9) == []
    (over,) = outliers.sweep(pool.backends, 30.1)
    assert (over.backend, over.reason) == (one, None)
    assert [outliers.ejected(one, 0.0) for _ in range(40)][-1] == 300


def test_not_all_are_ejected_at_once() -> None:
    """No more than the given share of the backends is ejected at once, but one may be (O6)."""
    policy = OutlierPolicy(consecutive=1, share=0.5)
    bad = {"bad": 3}
    assert len(sweep(policy, a=bad, b=bad, c=bad, d=bad)) == 2
    assert len(sweep(OutlierPolicy(consecutive=1, share=0.0), a=bad, b=bad)) == 1


# Retries, waiting, time, events


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=40))
def test_the_budget_is_kept_in_every_window(steps: list[tuple[int, int]]) -> None:
    """No retry is allowed over the window's share of requests, or its minimum (T6)."""
    budget = RetryBudget(ratio=0.2, minimum=3, window=10)
    now, requests = 0, 0
    allowed: list[int] = []
    history: list[tuple[int, int]] = []
    for seconds, more in steps:
        now += seconds * 10**9
        budget.mark(now, requests)
        history.append((now, requests))
        requests += more
        while budget.allow(now, requests):
            allowed.append(now)
        if not allowed or allowed[-1] != now:
            continue
        window = [at for at in allowed if at > now - 10 * 10**9]
        before = [count for at, count in history if at <= now - 10 * 10**9]
        since = requests - (before[-1] if before else 0)
        assert len(window) <= max(3, 0.2 * since + 1)


def test_the_queue_keeps_its_order_and_bounds() -> None:
    """The queue gives back in order, and takes no more than its number and size (W3)."""
    queue: HoldQueue[str] = HoldQueue(HoldPolicy(seconds=1, count=3, size=10))
    assert [queue.enter(name, 4) for name in ("a", "b", "c")] == [True, True, False]
    queue.leave("a")
    assert queue.enter("d", 1)
    assert list(queue.drain()) == ["b", "d"]
    assert (len(queue), queue.size) == (0, 0)
    assert not HoldQueue(HoldPolicy(seconds=0)).enter("a", 1)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 100)), min_size=1, max_size=10))
def test_a_deadline_is_the_last_one_that_was_set(moves: list[tuple[int, int]]) -> None:
    """However often it is moved, a deadline passes once, at its last place, never early (T8)."""
    wheel, passed = TimingWheel(), [0]
    item = watched_deadline(wheel, lambda: passed.append(wheel.now))
    for pause, count in moves:
        for _ in range(pause):
            wheel.advance()
        passed.clear()
        wheel.arm(item, count)
    for _ in range(moves[-1][1] - 1):
        wheel.advance()
        assert passed == []
    wheel.advance()
    assert passed == [wheel.now]
    for _ in range(200):
        wheel.advance()
    assert len(passed) == 1


def test_a_deadline_can_be_taken_back() -> None:
    """A disarmed deadline does not pass, and holds nothing for longer than the horizon."""
    wheel: TimingWheel = TimingWheel()
    passed: list[int] = []
    item = watched_deadline(wheel, lambda: passed.append(wheel.now))
    wheel.arm(item, ticks(3600))
    wheel.disarm(item)
    for _ in range(100):
        wheel.advance()
    assert passed == []
    assert wheel.waiting == 0


async def test_a_slow_reader_of_events_is_told_what_it_missed() -> None:
    """A reader gets all events in order; what it missed beyond the kept ones is counted (A4)."""
    log = EventLog(5)
    for number in range(10_010):
        log.publish("test", number=number)
    log.close()
    seen = [event async for event in log.follow(5)]
    assert seen[0] == {"sequence": 5, "event": "lost", "count": 10}
    assert [event["number"] for event in seen[1:]] == list(range(10, 10_010))


async def test_readers_of_events_wait_for_news() -> None:
    """A reader that has seen all waits, and ends with the log (A4)."""
    log = EventLog()
    got: list[object] = []

    async def read() -> None:
        got.extend([event["event"] async for event in log.follow(0)])

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read())
        for name in ("one", "two"):
            log.publish(name)
            await asyncio.sleep(0)
        log.publish("three")
        log.close()
        await reading
    assert got == ["one", "two", "three"]


def test_counters_survive_a_handover() -> None:
    """Counters that are written and read again are the same (R5)."""
    counters = Counters()
    complete(200, 5_000_000, 10, counters)
    complete(503, 70_000_000_000, 0, counters)
    counters.fail()
    counters.abort()
    assert Counters.from_dict(counters.as_dict()).as_dict() == counters.as_dict()


@given(st.integers(1, 7), st.lists(st.integers(0, 20), max_size=6), st.integers(0, 3))
def test_many_plain_choices_are_the_single_ones(size: int, counts: list[int], more: int) -> None:
    """`plain_place` goes on where `acquire` was, and `acquire` after `chosen`, also as it grows."""
    one, many = BackendPool(), BackendPool()
    for pool in (one, many):
        for number in range(size):
            pool.mark(
                pool.attach(f"b{number}", host="h", port=number, version="v", weight=1.0), State.UP
            )
    for turn, count in enumerate(counts):
        first, ring = many.plain_place(), many.ring
        if count:
            many.chosen((first + count - 1) % len(ring))
        expected = [one.acquire() for _ in range(count)]
        assert [b.id for b in expected if b is not None] == [
            ring[(first + k) % len(ring)].id for k in range(count)
        ]
        if turn == 1:
            for pool in (one, many):
                for number in range(size, size + more):
                    late = pool.attach(f"b{number}", host="h", port=number, version="v", weight=1.0)
                    pool.mark(late, State.UP)


def test_choices_that_are_not_plain_are_refused() -> None:
    """Nobody may take many choices at once where they depend on weights, or where there is none."""
    pool = BackendPool()
    with pytest.raises(ConflictError, match="plain"):
        pool.plain_place()
    for number, weight in enumerate((1.0, 2.0)):
        pool.mark(
            pool.attach(f"b{number}", host="h", port=number, version="v", weight=weight), State.UP
        )
    assert not pool.is_plain
    with pytest.raises(ConflictError, match="plain"):
        pool.plain_place()
