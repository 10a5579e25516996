"""Whether a run came out as its scenario declares: what must pass does, and what must fail does.

The negative controls are as much a promise as the rest: a harness in which nothing fails proves
nothing.
"""

from scenarios.scenario.spec import Expectation
from scenarios.verdict.model import Verdict


def surprise(expect: Expectation, verdict: Verdict) -> str | None:
    """What is not as declared, as a sentence; None if everything is."""
    if verdict.verdict == "invalid":
        return "the run is invalid: " + "; ".join(verdict.reasons)
    causes = expect.fails_with.get(verdict.strategy)
    if causes is None:
        if verdict.verdict == "pass":
            return None
        return "the run should pass, but it failed: " + "; ".join(verdict.reasons)
    if verdict.verdict == "pass":
        return f"the run should fail with {' or '.join(causes)}, but it passed"
    found = [cause.cause for cause in (*verdict.causes, *verdict.slow_causes)]
    if causes and not set(causes) & set(found):
        return (
            f"the run should fail with {' or '.join(causes)}, "
            f"but it failed with {', '.join(found) or 'no failed request'}"
        )
    return None
