"""Going back is a question to the schema."""

from pathlib import Path

import pytest

from tests.support.runs import Released, released

pytestmark = [pytest.mark.matrix, pytest.mark.timeout(180)]


SMALL = (
    *("--replicas", "2", "--rate", "60", "--existing-rows", "500"),
    *("--baseline", "1", "--settle", "0.5"),
)


def undone(scenario: str | Path, url: str, out: Path, strategy: str = "rolling") -> Released:
    """Run it small, on this server."""
    return released(scenario, out, "--strategy", strategy, "--database", url, *SMALL)


@pytest.mark.soak  # `take-back` below extends this scenario, and its undo has to work as well
def test_before_the_schema_forbids_it(postgres_url: str, tmp_path: Path) -> None:
    """An undo before NOT NULL works, and no request fails."""
    run = undone("undo", postgres_url, tmp_path)
    code, verdict = run.code, run.verdict
    assert (code, verdict.rollout.outcome) == (0, "completed"), verdict.reasons
    assert verdict.requests.failed == 0


def test_after_the_schema_forbids_it(postgres_url: str, tmp_path: Path) -> None:
    """An undo across NOT NULL is refused with its reason, and the fleet stays as it is."""
    run = undone("undo-refused", postgres_url, tmp_path)
    code, verdict = run.code, run.verdict
    assert (code, verdict.rollout.outcome) == (0, "failed"), verdict.reasons
    assert verdict.requests.failed == 0
    reason = verdict.rollout.reason or ""
    assert reason.startswith("undo to a: refused: the schema has changed")
    assert "subscriptions.status demands a value" in reason


def taken_back(run: Released) -> list[str]:
    """The migrations that were undone, or were begun to be, in order."""
    return [
        str(one.detail["migration"])
        for one in run.events
        if one.verb == "migrate"
        and one.state == "started"
        and one.detail["direction"] == "rollback"
    ]


def test_migrations_that_nobody_needs_are_taken_back(postgres_url: str, tmp_path: Path) -> None:
    """Down-migrations that every living replica tolerates run under traffic; no request fails.

    The undo before them works, too: the schema does not forbid it yet.
    """
    run = undone("take-back", postgres_url, tmp_path)
    code, verdict = run.code, run.verdict
    assert (code, verdict.rollout.outcome) == (0, "completed"), verdict.reasons
    assert verdict.requests.failed == 0
    assert verdict.integrity.violations == ()
    # Version a served after the first step and again after the undo, and could have been started.
    fresh = [one for one in run.events if one.verb == "fresh_start"]
    assert [(one.version, one.error, one.detail["step"]) for one in fresh] == [
        ("a", None, 1),
        ("a", None, 4),
    ]
    assert taken_back(run) == [
        "expand_contract.0004.tokens-foreign-key-valid",
        "expand_contract.0003.tokens-foreign-key",
        "expand_contract.0002.tokens",
        "expand_contract.0001.status-nullable",
    ]


def test_migrations_that_are_needed_stay(postgres_url: str, tmp_path: Path) -> None:
    """Down-migrations that one that lives does not tolerate are refused with what it lacks."""
    run = undone("take-back-refused", postgres_url, tmp_path)
    code, verdict = run.code, run.verdict
    assert (code, verdict.rollout.outcome) == (0, "failed"), verdict.reasons
    assert verdict.requests.failed == 0
    reason = verdict.rollout.reason or ""
    assert reason.startswith("migrate down: refused: a running version does not work with")
    assert "version bridge: it answered GET /ready with 503" in reason
    assert "subscriptions.status is missing" in reason
    assert taken_back(run) == []


BAD_B = """
extends = "big-bang"
name = "bad-b"

[application]
readiness_path = "/ready"

[policy.analysis]
max_p99_seconds = 0.000001
minimum_requests = 5
patience_seconds = 0.5
"""


def test_a_rollback_that_the_schema_forbids(postgres_url: str, tmp_path: Path) -> None:
    """A bad canary is not taken back to a version that the schema broke; what serves is held."""
    scenario = tmp_path / "bad-b.toml"
    scenario.write_text(BAD_B)
    out = tmp_path / "runs"
    run = undone(scenario, postgres_url, out, "canary")
    code, verdict = run.code, run.verdict
    assert (code, verdict.rollout.outcome) == (1, "failed"), verdict.reasons
    reason = verdict.rollout.reason or ""
    assert reason.startswith("deploy b: analysis: fail")
    assert "rollback to a: refused: the schema has changed" in reason
    assert "subscriptions.status demands a value" in reason
    events = run.events
    refused = next(one for one in events if one.verb == "rehearse" and one.state == "completed")
    (down,) = [one for one in events if one.detail.get("name") == "teardown"][:1]
    # Between the refusal and the end of the run nobody who serves was drained or stopped.
    gone = {
        name
        for one in events
        if one.verb in ("drain", "stop") and refused.at_ns < one.at_ns < down.at_ns
        for name in one.replicas
    }
    shares = [one.detail["shares"] for one in events if "shares" in one.detail]
    assert shares[-1] == {"a": 95.0, "b": 5.0}
    assert gone == set()
