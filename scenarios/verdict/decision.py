"""The decision: pass, fail or invalid, with its reasons in plain sentences.

Which of them wins, when several could be said:

1. `invalid` if the run has no ground to judge from: nothing was requested, it was interrupted, or
   requests failed before anything was deployed. Failures may then have nothing to do with the
   release.
2. `fail` if the application demonstrably broke an objective. A generator that fell behind does not
   take that back: a refused insert or a lost row is no artefact of load. But what the generator
   may itself have caused never counts here: requests that it could not send, its exhausted ports,
   and, when it fell behind, timeouts and slow answers.
3. `invalid` if nothing broke, but the run could not have shown it if it had: the generator fell
   behind, the new version never answered, no request was made while it was deployed.
4. `pass` otherwise.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scenarios.evidence.manifest import Manifest
from scenarios.verdict.model import (
    Cause,
    Harness,
    Integrity,
    Phase,
    Requests,
    VersionShare,
    Word,
)
from scenarios.verdict.slo import percent_down

CPU_SATURATED = 0.95
HARNESS_MADE = ("harness:",)
ENDED: Mapping[str, str] = {
    "completed": "was completed",
    "rolled_back": "was rolled back",
    "aborted": "was aborted",
    "failed": "failed",
}
LOAD_MADE = ("transport:timeout", "transport:connect_timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the decision is made from."""

    manifest: Manifest
    requests: Requests
    causes: tuple[Cause, ...]
    integrity: Integrity
    harness: Harness
    phases: tuple[Phase, ...]
    versions: tuple[VersionShare, ...]
    early_failures: int
    seconds: float | None
    floor_seconds: float | None


def decide(findings: Findings) -> tuple[Word, tuple[str, ...], tuple[str, ...]]:
    """The verdict, its reasons, and the doubts that did not decide: see the module's order."""
    ground = tuple(_no_ground(findings))
    behind = tuple(_fell_behind(findings))
    breaches = tuple(_breaches(findings, behind=bool(behind)))
    blind = (*behind, *_saw_nothing(findings))
    if ground:
        return "invalid", ground, (*blind, *breaches)
    if breaches:
        return "fail", breaches, blind
    if blind:
        return "invalid", blind, ()
    return "pass", tuple(_praise(findings)), ()


def _no_ground(findings: Findings) -> Iterable[str]:
    if findings.manifest.interrupted:
        yield "the run was interrupted"
    if findings.requests.planned == 0:
        yield "no request was made"
    if findings.early_failures:
        yield (
            f"{number(findings.early_failures, 'request')} failed in the baseline, before anything"
            " was deployed; 0 may"
        )


def _fell_behind(findings: Findings) -> Iterable[str]:
    harness, limit = findings.harness, findings.manifest.objectives.schedule_lag_p99_seconds
    if harness.undispatched:
        yield (
            f"the load generator could not send {number(harness.undispatched, 'request')} of "
            f"{findings.requests.planned:,}; 0 may be left out"
        )
    lag = harness.schedule_lag_p99
    if lag is not None and lag > limit:
        yield (
            f"the load generator fell behind its schedule: p99 lag {lag * 1e3:,.0f} ms, limit "
            f"{limit * 1e3:,.0f} ms"
        )
    if harness.cpu_max is not None and harness.cpu_max >= CPU_SATURATED:
        yield (
            f"the load generator was saturated: {harness.cpu_max * 100:.0f} % of a processor over "
            f"a second, limit {CPU_SATURATED * 100:.0f} %"
        )


def _saw_nothing(findings: Findings) -> Iterable[str]:
    manifest = findings.manifest
    answered = {share.version: share.requests for share in findings.versions}
    named = any(answered.values()) or not findings.requests.ok
    last = manifest.versions[-1] if manifest.versions else None
    if manifest.outcome == "completed" and last is not None and named and not answered.get(last):
        yield f"the release completed, but version {last} never answered a request"
    for phase in findings.phases:
        if phase.name == "rollout" and not phase.requests.planned and findings.requests.planned:
            yield "no request was made while the release was under way"


def _breaches(findings: Findings, *, behind: bool) -> Iterable[str]:
    yield from _broken_requests(findings, behind=behind)
    integrity, manifest = findings.integrity, findings.manifest
    if integrity.violation_count:
        first = integrity.violations[0]
        yield (
            f"{number(integrity.violation_count, 'violation')} of data integrity; 0 may be: "
            f"{first.subject}: expected {first.expected}, found {first.found}"
        )
    if manifest.outcome != manifest.expected_outcome and not manifest.interrupted:
        because = f": {manifest.outcome_reason}" if manifest.outcome_reason else ""
        yield (
            f"the release {ENDED[manifest.outcome]}{because}; expected: "
            f"{manifest.expected_outcome.replace('_', ' ')}"
        )


def _broken_requests(findings: Findings, *, behind: bool) -> Iterable[str]:
    objectives, requests = findings.manifest.objectives, findings.requests
    ignored = (*HARNESS_MADE, *LOAD_MADE) if behind else HARNESS_MADE
    proven = [cause for cause in findings.causes if not cause.cause.startswith(ignored)]
    failed = sum(cause.count for cause in proven)
    sent = requests.ok + requests.failed
    if failed > objectives.failed_requests:
        yield (
            f"{failed:,} of {number(sent, 'request')} failed; {objectives.failed_requests:,} may; "
            f"mostly: {proven[0].title} ({proven[0].count:,})"
        )
    if objectives.availability is not None and sent:
        share = 1 - failed / sent
        if share < objectives.availability:
            yield (
                f"{percent_down(share)} of the requests succeeded, objective "
                f"{objectives.availability * 100:g} %"
            )
    if (
        objectives.slow_requests is not None
        and requests.slow > objectives.slow_requests
        and not behind
    ):
        yield (
            f"{number(requests.slow, 'request')} took longer than "
            f"{objectives.latency_seconds:g} s; {objectives.slow_requests:,} may"
        )


def _praise(findings: Findings) -> Iterable[str]:
    requests, manifest = findings.requests, findings.manifest
    sent = requests.ok + requests.failed
    allowed = manifest.objectives.failed_requests
    if requests.failed:
        yield f"{requests.failed:,} of {number(sent, 'request')} failed; {allowed:,} may"
    else:
        yield f"none of {number(sent, 'request')} failed"
    if findings.integrity.status == "held":
        yield f"no violation of data integrity in {number(findings.integrity.checked, 'subject')}"
    yield f"the release {ENDED[manifest.outcome]}, as expected"


def number(count: int, thing: str) -> str:
    """A count with its noun, such as `1 request` or `4,812 requests`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
