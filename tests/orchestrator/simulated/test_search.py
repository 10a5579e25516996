"""The search finds what is broken on purpose, and nothing in what is right."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import pytest

from balancer import backend as backends
from balancer.backend import Backend, State
from balancer.backend_pool import BackendPool
from balancer.health import ProbeResult, Streak
from orchestrator import leaving, release, traffic_verbs
from orchestrator.fleet import Member
from orchestrator.model import Replica, Version
from orchestrator.policy import Policy
from orchestrator.rollout import Rollout
from orchestrator.simulated import exchanges, prober
from orchestrator.simulated.events import NEVER
from orchestrator.simulated.replica import SimulatedReplica
from orchestrator.simulated.search.schedule import Schedule, draw
from orchestrator.simulated.search.shrinking import shrink
from orchestrator.simulated.search.trial import violations_of
from orchestrator.termination import LeavingPlan

Patch = pytest.MonkeyPatch

MOST = 150
"""A mutant must be found among so many seeds, which take a few seconds."""


@pytest.mark.parametrize("seed", range(60))
def test_what_is_right_breaks_nothing(seed: int) -> None:
    """All invariants hold in schedules of any kind; `hitless fuzz` tries many more."""
    assert violations_of(draw(seed)) == []


def test_a_seed_is_one_schedule() -> None:
    """A seed gives the same schedule each time, which survives being written down."""
    for seed in range(40):
        drawn = draw(seed)
        assert draw(seed) == drawn
        assert msgspec.json.decode(msgspec.json.encode(drawn), type=Schedule) == drawn
    assert draw(1) != draw(2)


# Some ways to break the pool, the strategies and what they stand on.


def claims_late(patch: Patch) -> None:
    """A request claims its backend only after a moment, in which a drain sees nothing of it."""
    acquire = BackendPool.acquire

    def late(self: BackendPool, *args: Any, **options: Any) -> Backend | None:
        chosen = acquire(self, *args, **options)
        if chosen is not None:
            chosen.in_flight -= 1

            def claim() -> None:
                chosen.in_flight += 1

            asyncio.get_running_loop().call_later(0.001, claim)
        return chosen

    patch.setattr(BackendPool, "acquire", late)


def resurrects(patch: Patch) -> None:
    """A good health check brings a draining backend back."""
    table = {**backends.TRANSITIONS}
    table[State.DRAINING] = frozenset({State.REMOVED, State.UP})
    table[State.UP] |= {State.REMOVED}
    patch.setattr("balancer.backend_pool.TRANSITIONS", table)
    # Each check is carried out, also those that could change nothing in what is right.
    patch.setattr(prober, "_settled", lambda _state, _result: False)
    patch.setattr(
        prober.SimulatedProber, "_gone", lambda self: self._backend.state is State.REMOVED
    )
    observe = Streak.observe

    def hopeful(self: Streak, state: State, result: ProbeResult) -> State | None:
        if state is State.DRAINING:
            return State.UP if result is ProbeResult.PASSED else None
        return observe(self, state, result)

    patch.setattr(Streak, "observe", hopeful)


def stops_before_the_drain(patch: Patch) -> None:
    """SIGTERM comes first, and the drain after it."""

    async def drain(self: Rollout, replicas: Sequence[Replica], *_: Any) -> None:
        """The drain is left out, so that the stop comes first."""

    patch.setattr(Rollout, "drain", drain)


def surges_once_more(patch: Patch) -> None:
    """There is one replica more than the surge allows."""
    surge = Policy.surge.fget
    assert surge is not None
    patch.setattr(Policy, "surge", property(lambda self: surge(self) + 1))


def weighs_too_much(patch: Patch) -> None:
    """The weights of a canary do not sum up to what was asked for."""
    weights = traffic_verbs.weights

    def heavier(percent: float, chosen: Collection[str], *others: Any) -> dict[str, float]:
        shares = weights(percent, chosen, *others)
        return {name: share * (1.5 if name in chosen else 1) for name, share in shares.items()}

    patch.setattr(traffic_verbs, "weights", heavier)


def leaves_too_early(patch: Patch) -> None:
    """A rolling update takes one replica more out of service than it may."""
    unavailable = Policy.unavailable.fget
    assert unavailable is not None
    patch.setattr(
        Policy,
        "unavailable",
        property(lambda self: min(unavailable(self) + 1, self.replicas)),
    )


def forgets_the_others(patch: Patch) -> None:
    """A rollback lets the replicas of the failed version run on."""
    restore = release.restore

    async def forgetful(rolled: Rollout, version: Version, **options: Any) -> None:
        stop = rolled.stop

        async def nothing(_replicas: Sequence[Replica], *_: Any) -> None:
            pass

        rolled.stop = nothing  # type: ignore[method-assign]
        try:
            await restore(rolled, version, **options)
        finally:
            rolled.stop = stop  # type: ignore[method-assign]

    patch.setattr(release, "restore", forgetful)


def cuts_at_once(patch: Patch) -> None:
    """A drain gives requests in flight no time to end."""
    plan = leaving.Leaving.drain

    async def hasty(self: Any, member: Member, how: LeavingPlan, _timeout: float) -> Any:
        return await plan(self, member, how, 0.0)

    patch.setattr(leaving.Leaving, "drain", hasty)


def leaks_claims(patch: Patch) -> None:
    """Now and then a request that has ended stays claimed."""
    give_back, count = BackendPool.release, iter(range(1, 10**9))

    def forgetful(self: BackendPool, chosen: Backend) -> None:
        if next(count) % 50:
            give_back(self, chosen)

    patch.setattr(BackendPool, "release", forgetful)


def sends_twice(patch: Patch) -> None:
    """A request that must not be sent twice is sent again when its replica is lost."""
    patch.setattr(exchanges, "_IDEMPOTENT", exchanges._IDEMPOTENT | {"POST"})
    patch.setattr(
        exchanges.Exchanges,
        "is_unsafe",
        lambda self, request: self._replicas is not None and request.endpoint == 1,
    )


def skips_the_checks(patch: Patch) -> None:
    """New replicas get traffic before the balancer's checks have admitted them."""
    wait = Rollout.wait_ready

    async def at_once(self: Rollout, replicas: Sequence[Replica], *first: Any) -> None:
        if first:  # the version before the release
            await wait(self, replicas, *first)

    patch.setattr(Rollout, "wait_ready", at_once)


def waits_for_the_lost(patch: Patch) -> None:
    """A replica that stops waits for the answers to requests that never reach it."""

    def wait(self: SimulatedReplica, _about: None) -> None:
        if all(one.answered_ns < NEVER for one in self.pending):
            end(self, None)

    end = SimulatedReplica._end_when_done
    patch.setattr(SimulatedReplica, "_end_when_done", wait)


MUTANTS: tuple[Callable[[Patch], None], ...] = (
    claims_late,
    resurrects,
    stops_before_the_drain,
    surges_once_more,
    weighs_too_much,
    leaves_too_early,
    forgets_the_others,
    cuts_at_once,
    leaks_claims,
    sends_twice,
    skips_the_checks,
    waits_for_the_lost,
)


FIRST = {waits_for_the_lost: 285}
"""The seed to begin with; a search from 0 on comes to this one within half a minute."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_mutant_is_found(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """A pool or a strategy that is broken on purpose breaks an invariant within a few seeds."""
    mutant(monkeypatch)
    seeds = range(first := FIRST.get(mutant, 0), first + MOST)
    found = next((seed for seed in seeds if violations_of(draw(seed))), None)
    assert found is not None


def test_a_schedule_shrinks_to_what_matters(monkeypatch: Patch) -> None:
    """The smallest schedule still breaks the invariant, and has hardly anything left in it."""
    surges_once_more(monkeypatch)
    seed = next(seed for seed in range(MOST) if violations_of(draw(seed)))
    name = violations_of(draw(seed))[0].invariant

    def breaks(schedule: Schedule) -> bool:
        return any(one.invariant == name for one in violations_of(schedule))

    small = shrink(draw(seed), breaks)
    assert breaks(small)
    assert (small.faults, small.plan, small.rate) == ((), ("deploy",), 5.0)
    differing = [
        key for key in Schedule.__struct_fields__ if getattr(small, key) != getattr(Schedule(), key)
    ]
    assert len(differing) <= 4
