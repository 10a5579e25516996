"""A persona sets `policy.termination`, from a file or a flag, and single values can be changed."""

import json
import shlex
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from orchestrator.personas import PERSONAS, PersonaName
from scenarios.cli.main import status
from scenarios.errors import ScenarioError, UsageError
from scenarios.scenario.checks import BALANCER_ONLY
from scenarios.scenario.overrides import Changes
from scenarios.scenario.reader import load


def test_every_persona_has_a_name_that_a_policy_takes() -> None:
    """The names that a scenario may say are those of the personas."""
    assert get_args(PersonaName) == tuple(PERSONAS)


@pytest.mark.parametrize("name", PERSONAS)
def test_a_flag_sets_all_values_of_a_persona(name: str) -> None:
    """`--persona NAME` gives the policy exactly the values of that persona."""
    scenario = Changes(persona=name).experiment("expand-contract", "rolling", 1).scenario
    assert scenario.policy.termination == PERSONAS[name].termination
    assert scenario.policy.persona == name
    for setting, value in msgspec.structs.asdict(PERSONAS[name].handling).items():
        assert getattr(scenario.balancer, setting) == value


def test_single_values_of_a_persona_can_be_changed() -> None:
    """`--set` changes one value and leaves the others as the persona has them."""
    changes = Changes(persona="kubernetes", settings=("policy.termination.pre_stop_seconds=5",))
    how = changes.experiment("expand-contract", "rolling", 1).scenario.policy.termination
    assert how.pre_stop_seconds == 5
    assert how.order == "together"
    assert how.close_idle is False


def test_what_the_user_says_of_the_balancer_wins(tmp_path: Path) -> None:
    """A key of `[balancer]` wins over the persona, from a flag or a file; the others stay."""
    changes = Changes(persona="kubernetes", settings=("balancer.retry=true",))
    how = changes.experiment("expand-contract", "rolling", 1).scenario.balancer
    assert (how.retry, how.passive_checks, how.active_checks) == (True, False, False)
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "expand-contract"\nname = "mine"\n[policy]\npersona = "kubernetes"\n'
        "[balancer]\nreuse_post = false\npassive_checks = true\n"
    )
    how = load(str(path)).scenario.balancer
    assert (how.retry, how.passive_checks, how.reuse_post) == (False, True, False)


def test_a_persona_leaves_another_router_as_it_is() -> None:
    """With another router, a persona says how replicas leave, and nothing of the balancer."""
    changes = Changes(persona="kubernetes", router="haproxy")
    scenario = changes.experiment("expand-contract", "rolling", 1).scenario
    assert scenario.balancer == load("expand-contract").scenario.balancer
    assert scenario.policy.termination == PERSONAS["kubernetes"].termination


@pytest.mark.parametrize("key", sorted(BALANCER_ONLY))
def test_settings_of_our_balancer_are_refused_with_another_router(key: str, tmp_path: Path) -> None:
    """What only our balancer does is one line with the place and the router, not ignored."""
    path = tmp_path / "mine.toml"
    value = "5" if key == "idle_timeout_seconds" else "true"
    path.write_text(f'extends = "expand-contract"\nname = "mine"\n[balancer]\n{key} = {value}\n')
    load(str(path))
    with pytest.raises(ScenarioError, match=rf"mine\.toml:4: key 'balancer\.{key}'.* router envoy"):
        load(str(path), ("router.kind=envoy",))
    with pytest.raises(ScenarioError, match=rf"--set balancer\.{key}={value}: key"):
        load("expand-contract", ("router.kind=envoy", f"balancer.{key}={value}"))


def test_a_scenario_file_can_name_a_persona(tmp_path: Path) -> None:
    """`policy.persona` is a key like others; the file's own values go over it."""
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "expand-contract"\nname = "mine"\n[policy]\npersona = "nomad"\n'
        "[policy.termination]\npre_stop_seconds = 7\n"
    )
    how = load(str(path)).scenario.policy.termination
    assert (how.pre_stop_seconds, how.grace_seconds) == (7, 5)


def test_the_replay_command_names_the_persona() -> None:
    """The command that runs the same again has the persona and what was changed in it."""
    changes = Changes(persona="swarm", settings=("policy.termination.pre_stop_seconds=5",))
    replay = changes.experiment("expand-contract", "rolling", 3).replay
    words = shlex.split(replay)
    assert words[words.index("--persona") + 1] == "swarm"
    assert "policy.termination.pre_stop_seconds=5" in words


def test_an_unknown_persona_is_refused() -> None:
    """A persona that does not exist is one line with the names that do; nothing starts."""
    with pytest.raises(UsageError, match="did you mean 'kubernetes'"):
        Changes(persona="kubernete").experiment("expand-contract", "rolling", 1)
    with pytest.raises(ScenarioError, match=r"policy\.persona"):
        load("expand-contract", ('policy.persona="mesos"',))


def test_the_personas_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """`hitless list --personas` shows each persona with its values, for people and programs."""
    assert status(["list", "--personas"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in PERSONAS)
    assert status(["list", "--personas", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(PERSONAS)
    assert rows["kubernetes"]["termination"]["deregistration_lag_seconds"] == [0.0, 1.0]
    assert rows["kubernetes"]["handling"]["retry"] is False
