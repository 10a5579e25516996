"""A simulated release: the real strategies and the real pool against simulated replicas."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import Any, Literal

import pytest

from balancer.health import HealthPolicy
from orchestrator.model import Deploy, RunCommand
from orchestrator.simulated import prober
from orchestrator.simulated.replica import SimulatedReplica
from orchestrator.simulated.request import Handling
from orchestrator.simulated.world_settings import (
    Breaks,
    Endpoint,
    MigrationModel,
    Network,
    ReplicaModel,
    Spread,
    World,
)
from orchestrator.termination import TerminationPolicy
from tests.support.simulated import B, Simulated, release

UNKIND = {"handling": Handling(retry=False), "passive_checks": False}
VARIED = World(
    replica=ReplicaModel(
        start_seconds=Spread(median=1.0, spread=1.3),
        service_seconds=Spread(median=0.005, spread=1.7),
    ),
    network=Network(delay_seconds=0.0003, loss=0.001),
)


def answered(seen: Simulated) -> int:
    return sum(seen.account.ends.values())


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
def test_a_good_release_loses_nothing(strategy: str) -> None:
    """Every request is answered with success, and only the new version is left at the end."""
    seen = release(strategy=strategy, rate=300.0, world=VARIED)
    assert seen.result.outcome == "completed"
    assert seen.account.ends == {"200": seen.planned}
    assert {name[0] for name in seen.account.by_backend} == {"a", "b"}
    assert seen.left == []


def test_a_restart_loses_what_comes_meanwhile() -> None:
    """The naive strategy leaves nobody to answer for as long as the new version starts."""
    seen = release(strategy="naive", rate=300.0, world=World())
    lost = [at for at, why in seen.account.failed if why == "no backend is up"]
    assert len(lost) == len(seen.account.failed) > 0
    # 1 s of start, then the balancer's checks: what is lost came in one stretch of that length.
    assert 1.0 < (max(lost) - min(lost)) / 1e9 < 2.0
    assert answered(seen) == seen.planned


@pytest.mark.parametrize("seed", range(5))
def test_a_stop_that_races_the_news(seed: int) -> None:
    """Told late and without retries, the balancer sends requests to replicas that have closed."""
    late = TerminationPolicy(order="together", deregistration_lag_seconds=0.5)
    seen = release(rate=300.0, world=World(), seed=seed, policy={"termination": late}, **UNKIND)
    assert seen.result.outcome == "completed"
    whys = Counter(why for _, why in seen.account.failed)
    assert whys["the backend refused the connection"] > 20
    assert whys.keys() <= {
        "the backend refused the connection", "the backend closed before it answered",
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_a_pre_stop_that_covers_the_lag(seed: int) -> None:
    """A preStop that is longer than the news takes loses nothing, without any retry."""
    covered = TerminationPolicy(
        order="together", deregistration_lag_seconds=0.5, pre_stop_seconds=0.6
    )
    seen = release(rate=300.0, world=World(), seed=seed, policy={"termination": covered}, **UNKIND)
    assert seen.account.ends == {"200": seen.planned}


def test_retries_hide_the_race() -> None:
    """The same late news costs nobody anything where the balancer tries another replica."""
    late = TerminationPolicy(order="together", deregistration_lag_seconds=0.5)
    seen = release(rate=300.0, world=World(), policy={"termination": late})
    assert seen.account.ends == {"200": seen.planned}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_keep_alive_race(method: str) -> None:
    """A POST on a connection that its replica is closing is lost; a GET is sent again."""
    world = World(
        # Each of 3 replicas gets a request every 0.15 s, just when it closes the connection.
        replica=ReplicaModel(keep_alive_seconds=0.142),
        network=Network(delay_seconds=0.004),
        endpoints=(Endpoint(name=f"{method} /"),),
    )
    careless = Handling(reuse_post=True)
    seen = release(rate=20.0, even=True, world=world, handling=careless, passive_checks=False)
    lost = Counter(why for _, why in seen.account.failed)
    assert (lost["the backend closed before it answered"] > 0) == (method == "POST")
    careful = release(rate=20.0, even=True, world=world, passive_checks=False)
    assert careful.account.ends == {"200": careful.planned}


def test_what_a_migration_breaks() -> None:
    """After a migration that A cannot live with, exactly A's requests of that kind fail."""
    world = World(
        endpoints=(Endpoint(name="GET /"), Endpoint(name="POST /subscriptions")),
        breaks=(
            Breaks(version="a", endpoint="POST /subscriptions", since="0001", sqlstate="23502"),
        ),
        migrations=(MigrationModel(name="0001", seconds=0.2),),
    )
    step = RunCommand(name="0001", command=("migrate",))
    seen = release(step, Deploy(version=B), rate=300.0, world=world)
    assert seen.account.ends.keys() == {"200", "500 23502"}
    migrated = next(
        one.at_ns for one in seen.events if (one.verb, one.state) == ("migrate", "completed")
    )
    last_of_a = max(
        one.at_ns for one in seen.events if (one.verb, one.state) == ("stop", "started")
    )
    assert all(
        migrated <= at + 20_000_000 <= last_of_a + 20_000_000 for at, _ in seen.account.failed
    )


def test_a_lock_makes_requests_wait() -> None:
    """What needs a table waits as long as a migration holds its lock, and longer ones give up."""
    world = World(
        endpoints=(Endpoint(name="GET /", lock="subscriptions"),),
        migrations=(MigrationModel(name="0001", seconds=3.0, locks="subscriptions"),),
    )
    step = RunCommand(name="0001", command=("migrate",))
    patient = release(step, rate=100.0, world=world, baseline_seconds=1.0)
    assert patient.account.ends == {"200": patient.planned}
    hasty = release(step, rate=100.0, world=world, baseline_seconds=1.0, timeout_seconds=2.0)
    assert hasty.account.ends["gave up"] == pytest.approx(100, abs=40)


def test_who_waits_for_a_lock_takes_no_worker() -> None:
    """Requests that need no lock are answered meanwhile, however many others wait for it."""
    world = World(
        endpoints=(
            Endpoint(name="GET /", weight=9.0),
            Endpoint(name="POST /subscriptions", lock="subscriptions"),
        ),
        migrations=(MigrationModel(name="0001", seconds=3.0, locks="subscriptions"),),
        replica=ReplicaModel(workers=2),
    )
    step = RunCommand(name="0001", command=("migrate",))
    seen = release(step, rate=100.0, world=world, baseline_seconds=1.0, timeout_seconds=1.0)
    assert seen.account.ends["gave up"] == pytest.approx(20, abs=18)  # a tenth, for two seconds
    assert answered(seen) == seen.planned


@pytest.mark.parametrize("order", ["checks-only", "together"])
def test_a_request_on_its_way_does_not_keep_a_replica(
    order: Literal["checks-only", "together"],
) -> None:
    """A replica that stops ends once it has answered, though requests are lost on their way."""
    world = World(network=Network(delay_seconds=0.02), replica=ReplicaModel(stop_seconds=0.1))
    policy = {"termination": TerminationPolicy(order=order, deregistration_lag_seconds=0.3)}
    seen = release(rate=300.0, world=world, policy=policy, **UNKIND)
    assert seen.account.failed
    stops = [one for one in seen.events if (one.verb, one.state) == ("stop", "completed")]
    assert stops
    assert all(one.detail["killed"] == [] for one in stops)


@pytest.mark.parametrize(("after", "seconds"), [(0.5, 60), (1.2, 60), (0.5, 2), (1.2, 2)])
def test_a_replica_that_hangs_while_it_stops(
    after: float, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on to stop once it answers again; until then only its grace period ends it."""
    ask = SimulatedReplica.ask_to_stop

    def ask_and_hang(replica: SimulatedReplica) -> None:
        ask(replica)
        if replica.replica.id == "a-1":
            loop = asyncio.get_running_loop()
            loop.call_later(after, replica.hang)
            loop.call_later(after + seconds, replica.resume)

    monkeypatch.setattr(SimulatedReplica, "ask_to_stop", ask_and_hang)
    model = ReplicaModel(stop_listening_seconds=1.0, stop_seconds=0.5)
    seen = release(rate=50.0, world=World(replica=model))
    (first, *_) = [one for one in seen.events if (one.verb, one.state) == ("stop", "completed")]
    assert first.detail["killed"] == (["a-1"] if seconds > 10 else [])
    # It closes a second after its signal, and ends half a second later; either waits for it.
    if seconds < 10:
        assert first.seconds == pytest.approx(after + seconds + (1.5 if after < 1 else 0.5))
    assert seen.account.ends == {"200": seen.planned}


def test_a_canary_that_fails_is_taken_back() -> None:
    """The judge refuses a version that answers with errors, and the old one serves again."""
    world = World(breaks=(Breaks(version="b"),))
    seen = release(strategy="canary", rate=400.0, world=world)
    assert seen.result.outcome == "rolled_back"
    assert 0 < seen.account.ends["500"] < 0.1 * seen.planned
    assert seen.left == []


def test_replicas_that_die_are_replaced() -> None:
    """Replicas that crash now and then are replaced, and most requests are answered."""
    world = World(replica=ReplicaModel(crash_rate=100.0))
    seen = release(rate=100.0, world=world, baseline_seconds=60.0)
    assert any(one.verb == "heal" for one in seen.events)
    assert seen.account.ends["200"] > 0.95 * seen.planned
    assert answered(seen) == seen.planned


def test_a_replica_that_ignores_its_signal_is_killed() -> None:
    """It serves until it is killed after its grace period, and the journal says so."""
    world = World(versions={"a": ReplicaModel(on_stop="ignore")})
    seen = release(rate=50.0, world=world)
    killed = [one.detail["killed"] for one in seen.events if one.verb == "stop" and one.seconds]
    assert killed[:3] == [["a-1"], ["a-2"], ["a-3"]]
    assert seen.account.ends == {"200": seen.planned}


def test_a_version_that_never_gets_ready_is_taken_back() -> None:
    """A deployment of it fails by its deadline, and nothing is lost."""
    world = World(breaks=(Breaks(version="b", ready=False),))
    seen = release(rate=100.0, world=world, policy={"progress_deadline_seconds": 5.0})
    assert seen.result.outcome == "rolled_back"
    assert seen.account.ends == {"200": seen.planned}


def test_without_active_checks_nobody_notices() -> None:
    """A balancer that checks replicas only until they are up goes on using those that are gone."""
    news = TerminationPolicy(order="together", deregistration_lag_seconds=2.0)
    settings: dict[str, Any] = {"rate": 300.0, "world": World(), **UNKIND}
    watched = release(policy={"termination": news}, **settings)
    blind = release(policy={"termination": news}, health=HealthPolicy(active=False), **settings)
    assert blind.result.outcome == "completed"
    # Three replicas leave, one by one, each while it is one of four: 75 requests a second, for 2 s.
    assert len(blind.account.failed) == pytest.approx(450, rel=0.1)
    assert 0 < len(watched.account.failed) < 0.6 * len(blind.account.failed)


@pytest.mark.parametrize("order", ["checks-only", "together"])
def test_checks_that_are_left_out_would_have_changed_nothing(
    order: Literal["checks-only", "together"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with every single health check is the same to the nanosecond."""
    settings: dict[str, Any] = {
        "world": World(replica=ReplicaModel(crash_rate=20.0, ready_seconds=0.7)),
        "rate": 300.0,
        "seed": 5,
        "baseline_seconds": 20.0,
        "policy": {"termination": TerminationPolicy(order=order, deregistration_lag_seconds=0.4)},
        **UNKIND,
    }
    quick = release(**settings)
    monkeypatch.setattr(prober, "_settled", lambda _state, _result: False)
    whole = release(**settings)
    assert quick.account.failed
    assert quick.digest == whole.digest


def test_a_seed_decides_everything() -> None:
    """The same seed gives the same requests and journal, another one does not."""
    settings: dict[str, Any] = {"rate": 200.0, "world": VARIED, "strategy": "canary"}
    assert release(seed=3, **settings).digest == release(seed=3, **settings).digest
    assert release(seed=3, **settings).digest != release(seed=4, **settings).digest


@pytest.mark.parametrize("numpy", ["numpy", "no numpy"])
def test_a_seed_means_the_same_in_another_process(numpy: str) -> None:
    """Another process, with another hash seed and with or without numpy, gives the same."""
    here = release(seed=3, rate=200.0, world=VARIED).digest
    code = (
        "import sys\n"
        f"if {numpy == 'no numpy'}: sys.modules['numpy'] = None\n"
        "from tests.orchestrator.simulated.test_world import VARIED, release\n"
        "print(release(seed=3, rate=200.0, world=VARIED).digest)"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "17", "PATH": "/usr/bin:/bin"},
    )
    assert there.stdout.strip() == here


def test_nothing_of_the_real_world_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket, thread, process or real clock: all of them are forbidden here."""

    def forbidden(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the real world was touched")

    # asyncio's loop makes a pair of sockets for itself; ours must not.
    for owner, name in (
        (socket, "socket"), (socket, "socketpair"), (subprocess, "Popen"),
        (threading.Thread, "start"), (time, "sleep"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, forbidden)
    for name in ("monotonic", "monotonic_ns", "time", "time_ns", "perf_counter"):
        monkeypatch.setattr(time, name, forbidden)
    seen = release(strategy="canary", rate=100.0, world=VARIED)
    assert seen.account.ends == {"200": seen.planned}
