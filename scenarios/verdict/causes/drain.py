"""PURE: which drain would have let the requests end that were cut at its deadline."""

import math
from collections.abc import Mapping, Sequence

from scenarios.verdict.causes.failure import Failure
from scenarios.verdict.model.advice import Advice

CAUSE = "lifecycle:drain_exceeded"
DRAIN = "policy.drain_timeout_seconds"
_STEP_SECONDS = 0.1


def advise_drain(
    failures: Sequence[Failure], longest_ns: Mapping[str, int], current: float
) -> tuple[Advice, ...]:
    """The least time limit of a drain with which each of these requests would have ended.

    A request that was cut does not tell how long it would have taken. It is taken to take as long
    as the longest request of the same endpoint that succeeded in this run.

    Args:
        failures: the requests that were cut at the end of a drain.
        longest_ns: how long the longest successful request of each endpoint took.
        current: the time limit of the run, in seconds.
    """
    if not failures:
        return ()
    count = f"{len(failures):,} failed request{'' if len(failures) == 1 else 's'}"
    unknown = sorted({one.outcome.endpoint for one in failures} - longest_ns.keys())
    if unknown:
        return (
            Advice(
                setting=DRAIN,
                covers=len(failures),
                cause=CAUSE,
                sentence=(
                    f"a drain of more than {current:g} s covers {count}; how much more is unknown, "
                    f"because no request to {', '.join(unknown)} succeeded in this run"
                ),
            ),
        )
    needed = max(_needed_seconds(one, longest_ns[one.outcome.endpoint]) for one in failures)
    needed = max(needed, current)  # it was cut, so the drain of the run was too short
    least = round((math.floor(needed / _STEP_SECONDS + 1e-9) + 1) * _STEP_SECONDS, 1)
    longest = max(longest_ns[one.outcome.endpoint] for one in failures) / 1e9
    return (
        Advice(
            setting=DRAIN,
            value=least,
            covers=len(failures),
            cause=CAUSE,
            sentence=(
                f"a drain of up to {least:g} s (drain_timeout_seconds) covers {count}: they were "
                f"cut after {current:g} s, and requests like them took up to {longest:.2f} s in "
                "this run"
            ),
        ),
    )


def _needed_seconds(failure: Failure, longest_ns: int) -> float:
    """From the start of the drain until the request would have ended."""
    sent_ns = failure.outcome.sent_ns
    life = failure.life
    began_ns = None if life is None else life.drain_started_ns
    if life is not None and life.departure is not None:
        began_ns = life.departure.router_told_ns or began_ns
    if sent_ns is None or began_ns is None:
        return longest_ns / 1e9
    return (sent_ns + longest_ns - began_ns) / 1e9
