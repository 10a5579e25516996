"""The advised preStop is what `--counterfactual` runs once more."""

import msgspec
import pytest

from scenarios.cli.questions.counterfactual import PRE_STOP_MARGIN_SECONDS, counterfactual
from scenarios.reports.matrix import matrix_markdown, matrix_row
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.overrides import Changes
from scenarios.verdict import Verdict
from tests.scenarios.verdict.causes.test_undrained import stopped


def kubernetes() -> Experiment:
    """A release on Kubernetes without a preStop."""
    return Changes(persona="kubernetes").experiment("expand-contract", "rolling", 1)


def no_other(_name: str) -> Experiment:
    """Another scenario; none is asked for here."""
    raise AssertionError


def test_the_advised_pre_stop_is_run_once_more() -> None:
    """The second run differs only in its preStop: the advised one and a stated margin."""
    verdict = stopped(0.31).judge()
    found = counterfactual(kubernetes(), verdict, no_other)
    assert found is not None
    policy = found.experiment.scenario.policy
    assert policy.termination.pre_stop_seconds == pytest.approx(0.4 + PRE_STOP_MARGIN_SECONDS)
    assert "0.5 s more" in found.changed
    before = kubernetes().scenario.policy
    how = msgspec.structs.replace(policy.termination, pre_stop_seconds=0.0)
    assert msgspec.structs.replace(policy, termination=how) == before


def test_no_pre_stop_is_tried_where_none_helps() -> None:
    """Where the router keeps using idle connections, no second run with a preStop is made."""
    verdict = stopped(0.31, reused=True, told=3.3).judge()
    assert verdict.advice
    assert counterfactual(kubernetes(), verdict, no_other) is None


def test_the_matrix_names_the_persona() -> None:
    """A cell of the matrix says on which persona it was run."""
    verdict: Verdict = stopped(0.31).judge()
    assert matrix_row(verdict).persona == "kubernetes"
    assert "rolling on kubernetes" in matrix_markdown([matrix_row(verdict)])
    plain = msgspec.structs.replace(verdict, persona=None)
    assert "rolling on" not in matrix_markdown([matrix_row(plain)])
