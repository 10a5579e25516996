"""What the verdict advises is what `--counterfactual` runs once more."""

from operator import attrgetter

import msgspec
import pytest

from scenarios.cli.questions.counterfactual import ADVICE_MARGIN_SECONDS, counterfactual
from scenarios.reports.matrix import matrix_markdown, matrix_row
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.overrides import Changes
from scenarios.verdict import Verdict
from scenarios.verdict.causes import drain, undrained
from scenarios.verdict.model.advice import Advice
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
    assert policy.termination.pre_stop_seconds == pytest.approx(0.4 + ADVICE_MARGIN_SECONDS)
    assert "0.5 s more" in found.changed
    before = kubernetes().scenario.policy
    how = msgspec.structs.replace(policy.termination, pre_stop_seconds=0.0)
    assert msgspec.structs.replace(policy, termination=how) == before


def advised(cause: str, *advice: Advice) -> Verdict:
    """A verdict whose only cause has this name, with this advice."""
    verdict = stopped(0.31).judge()
    causes = [msgspec.structs.replace(verdict.causes[0], cause=cause)]
    return msgspec.structs.replace(verdict, causes=tuple(causes), advice=advice)


def test_closing_idle_connections_is_tried_where_no_pre_stop_helps() -> None:
    """Where the router keeps using idle connections, the second run lets it close them."""
    verdict = stopped(0.31, reused=True, told=3.3).judge()
    found = counterfactual(kubernetes(), verdict, no_other)
    assert found is not None
    assert found.changed == "close_idle = true"
    how = found.experiment.scenario.policy.termination
    assert (how.close_idle, how.pre_stop_seconds) == (True, 0)


@pytest.mark.parametrize(
    ("setting", "value", "key", "expected"),
    [
        (undrained.PRE_STOP, 0.4, "termination.pre_stop_seconds", 0.9),
        (undrained.LAG, 0.3, "termination.deregistration_lag_seconds", 0.3),
        (undrained.ORDER, None, "termination.order", "drain-first"),
        (undrained.SERVER, None, "termination.order", "drain-first"),
        (undrained.CLOSE_IDLE, None, "termination.close_idle", True),
        (drain.DRAIN, 40.0, "drain_timeout_seconds", 40.5),
    ],
)
def test_each_advice_can_be_tried(setting: str, value: float, key: str, expected: object) -> None:
    """The second run has the advised setting, and says what was changed."""
    cause = drain.CAUSE if setting == drain.DRAIN else undrained.CAUSE
    advice = Advice(setting=setting, value=value, covers=1, sentence="", cause=cause)
    found = counterfactual(kubernetes(), advised(cause, advice), no_other)
    assert found is not None
    assert found.changed
    assert attrgetter(key)(found.experiment.scenario.policy) == expected


def test_all_advice_for_a_cause_is_followed_at_once() -> None:
    """One second run has all that is advised for the requests of a cause."""
    advice = (
        Advice(setting=undrained.PRE_STOP, value=1.0, covers=1, sentence=""),
        Advice(setting=undrained.CLOSE_IDLE, covers=1, sentence=""),
    )
    found = counterfactual(kubernetes(), advised(undrained.CAUSE, *advice), no_other)
    assert found is not None
    how = found.experiment.scenario.policy.termination
    assert (how.pre_stop_seconds, how.close_idle) == (1.5, True)
    assert " and close_idle = true" in found.changed


def test_a_drain_of_unknown_length_is_tried_as_before() -> None:
    """Where the evidence tells no number, the second run has a much longer drain."""
    advice = Advice(setting=drain.DRAIN, covers=1, sentence="", cause=drain.CAUSE)
    found = counterfactual(kubernetes(), advised(drain.CAUSE, advice), no_other)
    assert found is not None
    assert found.experiment.scenario.policy.drain_timeout_seconds == 300


def test_the_matrix_names_the_persona() -> None:
    """A cell of the matrix says on which persona it was run."""
    verdict: Verdict = stopped(0.31).judge()
    assert matrix_row(verdict).persona == "kubernetes"
    assert "rolling on kubernetes" in matrix_markdown([matrix_row(verdict)])
    plain = msgspec.structs.replace(verdict, persona=None)
    assert "rolling on" not in matrix_markdown([matrix_row(plain)])
