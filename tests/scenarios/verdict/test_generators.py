"""Load from several generators elsewhere: their clocks are in the verdict, and so is a loss."""

from scenarios.evidence.generator_facts import GeneratorFacts
from scenarios.reports.words import harness_text
from tests.support.evidence import Evidence

MS = 1_000_000


def facts(number: int, lost: str | None = None, error_ns: int = MS) -> GeneratorFacts:
    return GeneratorFacts(
        number=number,
        name=f"generator-{number}-x",
        node="node-1",
        requests=10,
        clock_error_ns=error_ns,
        clock_drift_ns=-2 * MS,
        lost=lost,
    )


def test_the_error_of_the_clocks_is_told(clean_run: Evidence) -> None:
    """The largest one decides, and the verdict says what it means."""
    verdict = clean_run.asked(generators=(facts(1), facts(2, error_ns=3 * MS))).judge()
    assert verdict.verdict == "pass"
    assert [one.clock_error for one in verdict.harness.generators] == [0.001, 0.003]
    assert verdict.harness.generators[0].clock_drift == -0.002
    (limit,) = [one for one in verdict.limits if "clocks were compared" in one]
    assert "2 generators in the cluster" in limit
    assert limit.endswith("their times may be up to 3 ms off")
    assert "2 in the cluster, their clocks known to 3" in harness_text(verdict)


def test_without_generators_nothing_is_said(clean_run: Evidence) -> None:
    """The load came from this machine, whose clock is the run's."""
    verdict = clean_run.judge()
    assert verdict.harness.generators == ()
    assert not any("clocks were compared" in one for one in verdict.limits)


def test_a_lost_generator_makes_the_run_invalid(clean_run: Evidence) -> None:
    """By name, whatever failed: a part of the users is missing, so nothing follows from it."""
    lost = facts(2, "was evicted: The node was low on resource: memory.")
    for run in (clean_run, clean_run.with_request(9, status=500)):
        verdict = run.asked(generators=(facts(1), lost)).judge()
        assert verdict.verdict == "invalid"
        assert verdict.reasons[0] == (
            "generator 2 was evicted: The node was low on resource: memory; so a part of the "
            "users is missing"
        )
