"""A run gets the traffic that the machine carries, and a machine that cannot is told so."""

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import EnvironmentFailure
from scenarios.cli.main import status
from scenarios.cli.measuring import with_auto_rate
from scenarios.errors import UsageError
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.tick import Tick
from scenarios.runner.capacity import LEAST_RATE, Capacity, Ramp, rising, suited
from scenarios.scenario.overrides import Changes
from scenarios.scenario.reader import load
from scenarios.scenario.spec import Scenario
from tests.scenarios.runner.test_first_try import SCENARIO, written


def wanting(rate: float, replicas: int = 3) -> Scenario:
    """A scenario that asks for so much."""
    scenario = load("good").scenario
    return msgspec.structs.replace(
        scenario,
        traffic=msgspec.structs.replace(scenario.traffic, rate=rate),
        policy=msgspec.structs.replace(scenario.policy, replicas=replicas),
    )


def capacity(rate: float, *, complete: bool = False) -> Capacity:
    return Capacity(rate=rate, complete=complete, others=0.97, limit="requests took 900 ms")


@pytest.mark.parametrize(
    ("found", "rate", "replicas", "sentence"),
    [
        (
            capacity(400, complete=True),
            200,
            3,
            "this machine carries at least 400/s; running at 200/s",
        ),
        (capacity(127), 60, 2, "this machine carries 120/s; running at 60/s with 2 replicas"),
        (capacity(312), 150, 3, "this machine carries 310/s; running at 150/s"),
        (capacity(9), 5, 2, "this machine carries 9/s; running at 5/s with 2 replicas"),
    ],
)
def test_half_of_what_is_carried(
    found: Capacity, rate: float, replicas: int, sentence: str
) -> None:
    """Half of what the machine carries is left for the rollout, and one line says all of it."""
    choice = suited(found, wanting(200))
    assert (choice.rate, choice.replicas, choice.sentence) == (rate, replicas, sentence)


def test_a_machine_that_carries_too_little() -> None:
    """It is told so, with what showed it and who uses the processors; no release is blamed."""
    with pytest.raises(EnvironmentFailure) as raised:
        suited(capacity(3.4), wanting(200))
    message = str(raised.value)
    assert message.startswith("this machine carries 3/s of this traffic now (requests took 900 ms;")
    assert "other processes use 97% of its processors" in message


@given(
    found=st.builds(capacity, st.floats(0, 5000), complete=st.booleans()),
    wanted=st.floats(0.5, 1000),
    replicas=st.integers(1, 9),
)
def test_no_run_gets_more_than_is_carried(found: Capacity, wanted: float, replicas: int) -> None:
    """The rate is never above what is wanted or carried, and never so low that nothing shows."""
    scenario = wanting(wanted, replicas)
    try:
        choice = suited(found, scenario)
    except EnvironmentFailure:
        assert found.rate < min(wanted, LEAST_RATE)
        return
    assert min(wanted, LEAST_RATE) <= choice.rate <= min(wanted, found.rate)
    assert min(2, replicas) <= choice.replicas <= replicas


def tick(rate: float, **differs: float) -> Tick:
    values = {"planned": round(rate * 0.25), "schedule_lag_p99_seconds": 0.001, "p99_seconds": 0.01}
    return msgspec.convert({"at_ns": 1, "seconds": 0.25, **values, **differs}, Tick)


@pytest.mark.parametrize(
    "wrong",
    [{"failed": 1}, {"undispatched": 1}, {"schedule_lag_p99_seconds": 0.2}, {"p99_seconds": 2}],
)
def test_the_ramp_ends_where_requests_suffer(wrong: dict[str, float]) -> None:
    """Two bad ticks in a row are the limit, one is not; what was carried before them counts."""
    ramp = Ramp(0.3, lambda _: None)
    for rate in (20, 40, 80, 120):
        ramp.on_tick(tick(rate))
    ramp.on_tick(tick(160, **wrong))
    ramp.on_tick(tick(200))
    assert (ramp.carried, ramp.overloaded.is_set(), ramp.limit) == (200, False, "")
    ramp.on_tick(tick(240, **wrong))
    ramp.on_tick(tick(280, **wrong))
    assert (ramp.carried, ramp.overloaded.is_set()) == (200, True)
    assert ramp.limit


def test_the_first_requests_only_warm_up() -> None:
    """An application that is slow to its first requests is not taken for a slow machine."""
    ramp = Ramp(0.3, lambda _: None)
    for _ in range(3):
        ramp.on_tick(tick(20, p99_seconds=1.5))
    assert not ramp.overloaded.is_set()


def test_the_rate_doubles_up_to_twice_the_wanted_one() -> None:
    """The ramp begins low, doubles, and ends at the rate that leaves the headroom."""
    traffic = rising(wanting(200)).traffic
    rates = [point.rate for point in traffic.profile]
    assert rates[-1] == traffic.rate == 400
    assert all(after == 2 * before for before, after in pairwise(rates))


@pytest.mark.parametrize(
    ("said", "flag", "who"),
    [
        ("rate = 50", None, "scenario"),
        ("", None, "machine"),
        ("", "40", "flag"),
        ("rate = 50", "auto", "machine"),
        (
            "profile = [{ at_seconds = 0, rate = 5 }, { at_seconds = 9, rate = 5 }]",
            None,
            "scenario",
        ),
    ],
)
def test_who_decides_the_rate(said: str, flag: str | None, who: str, tmp_path: Path) -> None:
    """A flag decides, else the scenario, else the machine, which `--rate auto` always asks."""
    path = written(tmp_path, SCENARIO.replace("rate = 50", said))
    changes = Changes().with_rate(flag)
    experiment = changes.experiment(str(path), "rolling", 1)
    assert with_auto_rate(changes, experiment).auto_rate is (who == "machine")


def test_a_rate_that_is_none() -> None:
    """A word that is neither a number nor `auto` is a mistake that names both."""
    with pytest.raises(UsageError, match="--rate fast: expected a number above 0, or auto"):
        Changes().with_rate("fast")


def test_the_machine_is_measured_and_the_choice_can_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--rate auto` says what the machine carries, and the run's command names what was chosen."""
    path = written(tmp_path, SCENARIO.replace("/itmes", "/"))
    out = tmp_path / "runs"
    options = ("--baseline", "0.5", "--settle", "0.5", "--no-live", "--out", str(out))
    status(["run", str(path), "--rate", "auto", *options])
    said = capsys.readouterr()
    if not list(out.iterdir()):
        assert "this machine carries" in said.err  # too little, on a very busy machine
        return
    (line,) = [one for one in said.out.splitlines() if one.startswith("this machine carries")]
    (folder,) = out.iterdir()
    manifest = RunFolder(folder).read_manifest()
    assert f"running at {manifest.rate:g}/s" in line
    assert f"--rate {manifest.rate:g}" in manifest.replay
