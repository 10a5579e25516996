"""What a run could not have seen: said with every verdict, above all with a good one."""

from collections.abc import Iterable

from scenarios.verdict.decision import Findings, number
from scenarios.verdict.measures.slo import bad_rollout_upper, percent_up
from scenarios.verdict.model import Availability, Slots

HELD_UP_SECONDS = 0.1
"""From here on a generator that was late is worth a word."""


def limits_of(findings: Findings, availability: Availability, *, logged: bool) -> Iterable[str]:
    """The limits of a run, in sentences.

    Args:
        findings: what was found.
        availability: the same in numbers.
        logged: whether the balancer's log tells of the failed requests.
    """
    whole = availability.smallest_detectable_outage_seconds
    one = availability.smallest_detectable_outage_one_replica_seconds
    if whole is not None and one is not None:
        yield (
            f"an outage of all replicas shorter than {_short(whole)}, or of one of "
            f"{findings.manifest.replicas} shorter than {_short(one)}, may fall between two "
            "requests (5 % chance at that length)"
        )
    bound = percent_up(availability.failure_rate_upper_95)
    yield (
        f"a failure rate of up to {bound} is compatible with these requests (95 %, if failures "
        "were independent)"
    )
    if findings.requests.ok and not findings.requests.failed:
        yield (
            f"one good rollout only shows (95 %) that fewer than {bad_rollout_upper(1) * 100:.0f} %"
            " of such rollouts go wrong; 59 in a row would show fewer than 5 %"
        )
    if availability.slots.no_data:
        slots = availability.slots
        yield (
            f"in {slots.no_data * slots.seconds:.1f} s of {_span(slots):.1f} s no request "
            "was planned: those slots count neither as up nor as down"
        )
    integrity = findings.integrity
    if integrity.status == "unchecked":
        yield "the database was not read: nothing is known of lost or duplicated data"
    elif integrity.status == "unknown":
        yield "no request promised anything about the data, so no promise was checked"
    if integrity.unknown:
        yield (
            f"the effect of requests about {number(integrity.unknown, 'subject')} is unknown to "
            f"the client; {integrity.recovered:,} of them are there, and neither is held against "
            "the application"
        )
    if not any(share.requests for share in findings.versions) and findings.requests.ok:
        yield "no response named its replica (X-Served-By): who answered is not known"
    yield from _unseen(findings)
    if not logged:
        yield "the balancer's access log has none of the failed requests: causes rest on the client"


def _unseen(findings: Findings) -> Iterable[str]:
    held_up = findings.harness.schedule_lag_max
    if held_up is not None and held_up > HELD_UP_SECONDS:
        yield (
            f"the load generator was once {_short(held_up)} late: what happened meanwhile was "
            "seen only afterwards"
        )
    if findings.paced:
        was, its = ("was", "its user") if findings.paced == 1 else ("were", "their users")
        yield (
            f"{number(findings.paced, 'request')} {was} not judged for slowness: {its} took "
            "their time, by sending or reading slowly or by staying connected"
        )
    if not findings.locks.watched:
        yield "nobody looked at the database's locks: a wait for one has no name here"


def _span(slots: Slots) -> float:
    return slots.seconds * (slots.good + slots.bad + slots.no_data)


def _short(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
