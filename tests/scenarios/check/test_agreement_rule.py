"""When a run is what a check predicted: the rule of `benchmarks.check_agreement`."""

from collections.abc import Sequence

import pytest

from benchmarks.check_agreement import MACHINE, Cell
from scenarios.check.safety import Hazard, Safety
from tests.support.evidence import Evidence, clean

LATE = {"status": 500, "problem": "the pool is exhausted"}


def safety(*causes: str, outcome: str = "completed") -> Safety:
    hazards = tuple(Hazard(cause=one, what="", path=(), serving=(), schema=()) for one in causes)
    return Safety(strategy="rolling", safe=not causes, outcome=outcome, hazards=hazards)  # type: ignore[arg-type]


def cell(
    run: Evidence, *causes: str, strategy: str = "rolling", outcome: str = "completed"
) -> Cell:
    return Cell("plan", strategy, safety(*causes, outcome=outcome), run.judge())


@pytest.fixture(scope="module")
def clean_run() -> Evidence:
    """A run that looks at no data, so that requests can be made to fail."""
    return clean().but(before=None, after=None, mails=())


@pytest.fixture(scope="module")
def refused(clean_run: Evidence) -> Evidence:
    """A run in which a statement was refused, and some answers were late."""
    return clean_run.failing(2.5, 2.8, status=500, sqlstate="23502")


def test_the_same_verdict_with_the_same_causes_agrees(
    clean_run: Evidence, refused: Evidence
) -> None:
    """Also if more was predicted than the run has met."""
    assert cell(clean_run).disagreements == ()
    assert cell(refused, "sqlstate:23502").disagreements == ()
    assert cell(refused, "status:404", "sqlstate:23502").disagreements == ()


@pytest.mark.parametrize(
    ("predicted", "said"),
    [
        ((), ["the run's verdict is fail, not pass", "sqlstate:23502 is not predicted"]),
        (("status:404",), ["sqlstate:23502 is not predicted", "no predicted cause was observed"]),
    ],
)
def test_a_cause_that_was_not_predicted_disagrees(
    predicted: Sequence[str], said: list[str], refused: Evidence
) -> None:
    """However rare it is."""
    assert list(cell(refused, *predicted).disagreements) == said


def test_a_second_cause_must_be_predicted_too(refused: Evidence) -> None:
    """One predicted cause among several is not enough."""
    both = refused.failing(3.0, 3.05, status=404)
    assert cell(both, "sqlstate:23502").disagreements == ("status:404 is not predicted",)
    assert cell(both, "sqlstate:23502", "status:404").disagreements == ()


def test_a_predicted_failure_that_no_run_meets_disagrees(clean_run: Evidence) -> None:
    assert cell(clean_run, "sqlstate:23502").disagreements == (
        "the run's verdict is pass, not fail",
        "no predicted cause was observed",
    )


def test_what_the_machine_made_fail_is_set_aside_and_named(
    clean_run: Evidence, refused: Evidence
) -> None:
    """It neither makes a safe release unsafe, nor is it the cause that was predicted."""
    late = clean_run.failing(3.0, 3.5, **LATE)
    assert cell(late).disagreements == ()
    assert cell(late).of_machine
    assert f"): {MACHINE['pool_exhausted']} |" in cell(late).row
    assert cell(late, "sqlstate:23502").disagreements == ("no predicted cause was observed",)
    both = refused.failing(3.0, 3.9, **LATE)
    assert cell(both, "sqlstate:23502").disagreements == ()
    assert "the run's verdict is fail, not pass" not in cell(both).disagreements
    assert "sqlstate:23502 is not predicted" in cell(both).disagreements


def test_what_stops_with_the_last_replica_is_set_aside_only_there(clean_run: Evidence) -> None:
    """Where the check says that nobody serves for a moment; elsewhere nothing may be cut off."""
    cut = clean_run.failing(3.0, 3.05, status=None, error="eof", first_byte_ns=None)
    nobody = cut.failing(3.1, 3.3, status=503, sqlstate="23502")
    found = cell(nobody, "sqlstate:23502").disagreements
    assert set(found) == {
        f"{one} is not predicted" for one in ("transport:eof", "transport:reused_connection")
    }
    assert cell(nobody, "sqlstate:23502", "no_backend").disagreements == ()
    assert not cell(nobody, "no_backend").of_machine


def test_the_release_ends_as_predicted(clean_run: Evidence, refused: Evidence) -> None:
    """Only a canary that fails may be taken back, though the check says that it completes."""
    back = refused.asked(outcome="rolled_back")
    words = "the release ends with rolled_back, not completed"
    assert words in cell(back, "sqlstate:23502").disagreements
    assert cell(back, "sqlstate:23502", strategy="canary").disagreements == ()
    ended = cell(clean_run, outcome="failed").disagreements
    assert ended == ("the release ends with completed, not failed",)
