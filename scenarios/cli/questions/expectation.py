"""Whether a run came out as its scenario declares: what must pass does, and what must fail does.

The negative controls are as much a promise as the rest: a harness in which nothing fails proves
nothing.
"""

from typing import NamedTuple

from scenarios.scenario.spec import Expectation, ExpectationElsewhere
from scenarios.verdict.model import Verdict


class Declared(NamedTuple):
    """What a scenario declares of one run.

    Attributes:
        must: requests must fail, with at least one of these causes (any, if there are none);
            None: they need not fail.
        may: the causes with which requests may fail.
    """

    must: tuple[str, ...] | None
    may: tuple[str, ...]


def declared(expect: Expectation, *, strategy: str, router: str, persona: str | None) -> Declared:
    """PURE: what a scenario declares of a run with this strategy, router and persona."""
    must = expect.fails_with.get(strategy)
    may: tuple[str, ...] = ()
    for one in expect.elsewhere:
        if _holds(one, strategy=strategy, router=router, persona=persona):
            may += one.may_fail_with
            if one.fails_with:
                must = (*(must or ()), *one.fails_with)
    return Declared(must, may)


def surprise(expect: Expectation, verdict: Verdict) -> str | None:
    """What is not as declared, as a sentence; None if everything is."""
    if verdict.verdict == "invalid":
        return "the run is invalid: " + "; ".join(verdict.reasons)
    must, may = declared(
        expect, strategy=verdict.strategy, router=verdict.router, persona=verdict.persona
    )
    found = verdict.cause_ids
    if must is None:
        if verdict.verdict == "pass" or (_failed_requests_only(verdict) and {*found} <= {*may}):
            return None
        wanted = f"should pass, or fail with {' or '.join(may)} alone" if may else "should pass"
        return f"the run {wanted}, but it failed: " + "; ".join(verdict.reasons)
    if verdict.verdict == "pass":
        return f"the run should fail with {' or '.join(must)}, but it passed"
    if must and not set(must) & set(found):
        return (
            f"the run should fail with {' or '.join(must)}, "
            f"but it failed with {', '.join(found) or 'no failed request or job'}"
        )
    return None


def _holds(one: ExpectationElsewhere, *, strategy: str, router: str, persona: str | None) -> bool:
    return (
        (not one.router or router in one.router)
        and (not one.persona or persona in one.persona)
        and (not one.strategy or strategy in one.strategy)
    )


def _failed_requests_only(verdict: Verdict) -> bool:
    """Whether requests failed, and no data or job; a canary is then rightly rolled back."""
    jobs = verdict.jobs
    lost = verdict.integrity.violation_count or (jobs is not None and jobs.broken)
    return bool(verdict.causes) and not lost
