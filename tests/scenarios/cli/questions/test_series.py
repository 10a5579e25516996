"""Several runs for one question: how often a rollout goes wrong, and whether a cause is one."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scenarios.cli.main import status
from scenarios.cli.questions.counterfactual import counterfactual, experiments, tried
from scenarios.cli.questions.series import series_of
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.overrides import Changes
from scenarios.scenario.reader import Loaded
from scenarios.verdict import Verdict, decode
from scenarios.verdict.model import Cause, CauseEvidence, CauseKind, Locks

SMALL = [
    *("--replicas", "2", "--rate", "40", "--existing-rows", "200"),
    *("--baseline", "0.5", "--settle", "0.5"),
]


@pytest.fixture(scope="session")
def passed(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Verdict:
    """The verdict of a run in which nothing went wrong."""
    out = tmp_path_factory.mktemp("series") / "runs"
    code = status(
        [
            *("run", "with-default", "--strategy", "blue-green", "--no-live", *SMALL),
            *("--database", postgres_url, "--out", str(out)),
        ]
    )
    assert code == 0
    (folder,) = out.iterdir()
    return decode((folder / "verdict.json").read_bytes())


def with_cause(
    verdict: Verdict,
    cause: str,
    count: int = 5,
    kind: CauseKind = "lifecycle",
    **evidence: object,
) -> Verdict:
    fields: dict[str, object] = {
        "requests": (),
        "first": 0.0,
        "last": 1.0,
        **{name: {} for name in ("replicas", "versions", "endpoints", "connections")},
        **{name: {} for name in ("steps", "schemas")},
        "examples": (),
        **evidence,
    }
    found = Cause(
        cause=cause,
        title="it",
        confidence="likely",
        count=count,
        kind=kind,
        evidence=msgspec.convert(fields, CauseEvidence),
    )
    return msgspec.structs.replace(verdict, verdict="fail", causes=(found,))


def experiment(name: str, strategy: str, *faults: str) -> Experiment:
    return Changes(faults=faults).experiment(name, strategy, 1)


def safer(name: str) -> Experiment:
    return experiment(name, "rolling")


def test_the_sample_is_the_rollout(passed: Verdict) -> None:
    """Ten good rollouts show fewer than 26 % bad ones; those that say nothing do not count."""
    ten = series_of([(passed, Path("x"))] * 10)
    assert ten.bad_rollout_upper_95 == pytest.approx(1 - 0.05**0.1)
    assert "0 of 10 rollouts failed: fewer than 26 %" in ten.sentence
    assert ten.exit_status == 0
    invalid = msgspec.structs.replace(passed, verdict="invalid")
    mixed = series_of([(passed, Path("x")), (invalid, Path("y"))])
    assert (mixed.good, mixed.invalid) == (1, 1)
    assert mixed.bad_rollout_upper_95 == pytest.approx(0.95)
    assert mixed.exit_status == 3
    failed = msgspec.structs.replace(passed, verdict="fail")
    assert series_of([(failed, Path("x")), (invalid, Path("y"))]).exit_status == 1
    assert "invalid, so nothing is known" in series_of([(invalid, Path("y"))]).sentence


@pytest.mark.parametrize(
    ("name", "strategy", "faults", "cause", "evidence", "changed"),
    [
        ("expand-contract", "naive", (), "no_backend", {}, "the strategy rolling"),
        (
            *("with-default", "rolling", (), "status:404"),
            {"kind": "mixed_fleet"},
            "the strategy blue-green",
        ),
        (
            "big-bang",
            "rolling",
            (),
            "sqlstate:23502",
            {"kind": "statement"},
            "the plan expand-contract",
        ),
        ("lock-storm", "rolling", (), "lock_wait", {"kind": "lock"}, "the plan expand-contract"),
        (
            *("with-default", "blue-green", (), "lock_wait", {"kind": "lock"}),
            "a lock_timeout of 0.1 s for migrations",
        ),
        (
            "expand-contract",
            "rolling",
            (),
            "lifecycle:drain_exceeded",
            {},
            "a drain of up to 300 s",
        ),
        (
            *("big-bang", "rolling", ("kill",), "lifecycle:died"),
            {"faults": {"kill a-1": 5}},
            "no fault",
        ),
    ],
)
def test_the_suspected_mechanism_is_what_is_changed(  # noqa: PLR0917 - one case each
    passed: Verdict,
    name: str,
    strategy: str,
    faults: tuple[str, ...],
    cause: str,
    evidence: dict[str, Any],
    changed: str,
) -> None:
    """Each kind of cause has its own counterfactual, and nothing else differs."""
    asked = experiment(name, strategy, *faults)
    verdict = with_cause(passed, cause, **evidence)
    found = counterfactual(asked, verdict, safer)
    assert found is not None
    assert (found.cause, found.changed) == (cause, changed)
    assert found.experiment.seed == asked.seed
    assert (found.experiment.strategy, found.experiment.scenario) != (strategy, asked.scenario)
    assert isinstance(found.experiment.loaded, Loaded)
    gave_way = msgspec.structs.replace(passed.locks, gave_way=1)
    gone = tried(found, verdict, msgspec.structs.replace(passed, locks=gave_way))
    assert (gone.before, gone.after, gone.confirmed) == (5, 0, True)
    assert gone.sentence.startswith("confirmed: with ")
    stayed = tried(found, verdict, with_cause(passed, cause, 2))
    assert (stayed.after, stayed.confirmed) == (2, False)


def test_another_plan_is_all_that_changes(passed: Verdict) -> None:
    """Under a safer plan the rows, the traffic and the objectives are those of the run itself."""
    asked = experiment("lock-storm", "rolling")
    found = counterfactual(asked, with_cause(passed, "lock_wait", kind="lock"), safer)
    assert found is not None
    other = found.experiment.scenario
    assert other.release == safer("expand-contract").scenario.release
    assert (other.database, other.traffic, other.policy, other.objectives) == (
        asked.scenario.database,
        asked.scenario.traffic,
        asked.scenario.policy,
        asked.scenario.objectives,
    )


def test_nothing_follows_from_a_change_without_effect(passed: Verdict) -> None:
    """If no migration gave up waiting for a lock, its timeout is not why the failures are gone."""
    asked = experiment("with-default", "blue-green")
    verdict = with_cause(passed, "lock_wait", kind="lock")
    found = counterfactual(asked, verdict, safer)
    assert found is not None
    assert found.changed.startswith("a lock_timeout")
    idle = msgspec.structs.replace(passed, locks=Locks(watched=True))
    result = tried(found, verdict, idle)
    assert (result.after, result.confirmed, result.effective) == (0, False, False)
    assert "changed nothing" in result.sentence
    gave_way = msgspec.structs.replace(passed, locks=Locks(watched=True, gave_way=2))
    assert tried(found, verdict, gave_way).confirmed


def test_a_cause_without_an_experiment_is_named_and_passed_over(passed: Verdict) -> None:
    """The next cause is tested; what other processes or the harness did is none of them."""
    asked = experiment("expand-contract", "naive")
    verdict = with_cause(passed, "transport:reset")
    more = with_cause(passed, "no_backend").causes
    machine = with_cause(passed, "machine:starved", kind="machine").causes
    verdict = msgspec.structs.replace(verdict, causes=(*machine, *verdict.causes, *more))
    found = [(cause.cause, one is None) for cause, one in experiments(asked, verdict, safer)]
    assert found == [("transport:reset", True), ("no_backend", False)]


def test_without_a_cause_there_is_nothing_to_test(passed: Verdict) -> None:
    """A run in which nothing failed has no counterfactual, nor has a cause that nobody can undo."""
    assert counterfactual(experiment("with-default", "blue-green"), passed, safer) is None
    unknown = with_cause(passed, "transport:reset")
    assert counterfactual(experiment("with-default", "blue-green"), unknown, safer) is None


def test_what_does_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    """A series has no counterfactual."""
    assert status(["run", "--runs", "2", "--counterfactual"]) == 2
    assert "--runs cannot be combined with --counterfactual" in capsys.readouterr().err


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_naive_is_the_cause_of_what_naive_drops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same seed under rolling drops nothing: the counterfactual confirms it, end to end."""
    arguments = ["run", "expand-contract", "--strategy", "naive", *SMALL, "--out", str(tmp_path)]
    assert status([*arguments, "--counterfactual", "--json"]) == 1
    pair = json.loads(capsys.readouterr().out)
    assert pair["tried"]["cause"] == "no_backend"
    assert pair["tried"]["confirmed"], pair["tried"]
    assert pair["counterfactual"]["verdict"] == "pass"


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_series_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three runs with three seeds, and their bound."""
    arguments = ["run", "expand-contract", *SMALL, "--out", str(tmp_path), "--runs", "3", "--json"]
    assert status(arguments) == 0
    series = json.loads(capsys.readouterr().out)
    assert [verdict["seed"] for verdict in series["verdicts"]] == [1, 2, 3]
    assert (series["good"], series["bad"]) == (3, 0)
