"""Numbers and evidence as people read them, in every view alike."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from scenarios.evidence.control_run import ControlRun
from scenarios.evidence.leaving import LeavingSettings, RequestHandling
from scenarios.verdict.measures.slo import percent_down
from scenarios.verdict.model import (
    Availability,
    Budget,
    ControlComparison,
    ControlRow,
    Downtime,
    GeneratorSummary,
    Latency,
    ProbedVersion,
    ReplicaEnd,
    Users,
    Verdict,
)

MISSING = "-"
SHOWN_NAMES = 4
SHOWN_IDS = 10
SHOWN_ENDS = 200
_UNITS = (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1))


def clean(text: object) -> str:
    """Text from outside without what could drive a terminal: control characters become `·`."""
    said = str(text)
    if said.isprintable():
        return said
    return "".join(letter if letter.isprintable() else "·" for letter in said)


def clean_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(map(clean, text.split("\n")))


def duration(seconds: float | None) -> str:
    """A duration as people write it: `412 µs`, `4.12 ms`, `1.93 s`, `2 min 3 s`, `8 h 45 min`."""
    if seconds is None:
        return MISSING
    if seconds >= 100:  # noqa: PLR2004 - from here on minutes read better
        return _long(round(seconds))
    if seconds >= 1 or seconds == 0:
        return f"{_three_digits(seconds)} s"
    if seconds >= 1e-3:  # noqa: PLR2004 - a millisecond
        return f"{_three_digits(seconds * 1e3)} ms"
    return f"{_three_digits(seconds * 1e6)} µs"


def _long(seconds: int) -> str:
    """Minutes and more, in the two largest units; the second one is left out where it is zero."""
    unit, size, smaller, step = next(one for one in _UNITS if seconds >= one[1])
    count, rest = divmod(round(seconds / step) * step, size)
    return f"{count} {unit}" + (f" {rest // step} {smaller}" if rest else "")


def _three_digits(value: float) -> str:
    value = float(f"{value:.3g}")  # first, so that 99.96 becomes 100 and not 100.0
    if value == 0:
        return "0"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def clock(seconds: float) -> str:
    """Elapsed time as `0:07`, or `1:02:03` from an hour on."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def instant(seconds: float) -> str:
    """An instant of the run, such as `+5.21 s`."""
    return f"{seconds:+.2f} s"


def moment(text: str) -> str:
    """A wall-clock time for people, such as `28 Nov 2026, 02:34:20 UTC`; as it is if it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return clean(text)
    return f"{at.day} {at:%b %Y, %H:%M:%S} {at.tzname() or ''}".rstrip()


def share(ratio: float) -> str:
    """A share in whole per cent, for what need not be exact."""
    return f"{ratio * 100:.0f} %"


def counted(names: Mapping[str, int], shown: int = SHOWN_NAMES) -> str:
    """Names with how often they occur: `a-1 (12), a-2 (9) and 3 more`."""
    parts = [f"{clean(name)} ({count:,})" for name, count in list(names.items())[:shown]]
    more = len(names) - shown
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def some(ids: Sequence[str], total: int) -> str:
    """The first of so many ids, and how many more there are."""
    more = total - len(ids[:SHOWN_IDS])
    return clean(" ".join(ids[:SHOWN_IDS])) + (f" and {more:,} more" if more > 0 else "")


def latency_text(latency: Latency) -> str:
    """The percentiles in one line."""
    return " · ".join(
        f"{name} {duration(value)}"
        for name, value in (
            ("p50", latency.p50),
            ("p99", latency.p99),
            ("p99.9", latency.p999),
            ("max", latency.max),
        )
    )


def slots_text(availability: Availability) -> str:
    """The availability by time in one line; never says 100 %."""
    slots = availability.slots
    seen = slots.good + slots.bad
    unseen = f"; {slots.no_data:,} slots had no request" if slots.no_data else ""
    if availability.time_based is None:
        return f"no slot of {slots.seconds:g} s had a request"
    share = "" if slots.bad == 0 else f" ({percent_down(availability.time_based)})"
    return f"{slots.good:,} of {seen:,} slots of {slots.seconds:g} s had no failure{share}{unseen}"


def budget_text(budget: Budget) -> str:
    """How much of the error budget is spent, in one line."""
    year = duration(budget.downtime_a_year_seconds)
    if budget.spent is None:
        return f"{budget.name}: no request was sent, so nothing was spent"
    month = (
        ""
        if not budget.month
        else f"; that is {budget.month * 100:.2g} % of the budget for 30 days at this rate"
    )
    spent = (
        f"{budget.spent * 100:.3g} % of"
        if budget.spent < 10  # noqa: PLR2004 - from here on times read better
        else f"{budget.spent:,.0f} times"
    )
    return (
        f"spent {spent} the error budget of {budget.name}: {budget.failed:,} failed, "
        f"{budget.allowed:,.1f} allowed{month}; the objective allows {year} of downtime a year"
    )


def requests_text(verdict: Verdict) -> str:
    """The counts of requests in one line."""
    counts = verdict.requests
    return (
        f"{counts.planned:,} planned · {counts.ok:,} ok · {counts.failed:,} failed · "
        f"{counts.slow:,} slow · {counts.undispatched:,} not sent"
    )


def traffic_text(rate: float, users: int) -> str:
    """Who comes: arrivals, and users who stay, as far as there are any."""
    parts = [f"{rate:g} arrivals/s"] if rate or not users else []
    if users:
        parts.append("1 user who stays" if users == 1 else f"{users:,} users who stay")
    return " and ".join(parts)


def rate_text(rate: float, users: int) -> str:
    """The same for a headline: who stays only where nobody arrives."""
    return f"{rate:g}/s" if rate or not users else traffic_text(rate, users)


def users_text(users: Users) -> str:
    """What users who stayed saw, in one line."""
    if users.uptime is None:
        return "unknown: no user sent a second request"
    staying = "1 user who stayed" if users.users == 1 else f"{users.users:,} users who stayed"
    line = f"{staying} had service for {percent(users.uptime)} of their time"
    if users.worst is None or users.worst.uptime >= 1:
        return line
    return f"{line}; the lowest was {percent(users.worst.uptime)} ({clean(users.worst.user)})"


def percent(ratio: float) -> str:
    """A share, rounded down, so that nothing short of all looks like all."""
    return "all" if ratio >= 1 else percent_down(ratio)


def release_text(verdict: Verdict) -> str:
    """How the release ended, and how fast, in one line."""
    rollout = verdict.rollout
    ended = rollout.outcome.replace("_", " ")
    took = "" if rollout.seconds is None else f" in {duration(rollout.seconds)}"
    floor = (
        ""
        if not rollout.floor_seconds  # nobody knows it where a cluster or a command deploys
        else f" (fastest possible: {duration(rollout.floor_seconds)})"
    )
    expected = (
        "" if rollout.outcome == rollout.expected else f"; expected outcome: {rollout.expected}"
    ).replace("_", " ")
    reason = f"; reason: {clean(rollout.reason)}" if rollout.reason else ""
    return f"{ended}{took}{floor}{expected}{reason}"


def harness_text(verdict: Verdict) -> str:
    """How the load generator kept up, in one line."""
    if verdict.predicted:
        return "predicted in virtual time; no load generator and no application ran"
    harness = verdict.harness
    cpu = MISSING if harness.cpu_max is None else share(harness.cpu_max)
    return (
        f"requests sent late by {duration(harness.schedule_lag_p99)} (p99), "
        f"{duration(harness.schedule_lag_max)} (max) · processor use up to {cpu}"
        f"{_generators_text(harness.generators)}"
    )


def _generators_text(generators: Sequence[GeneratorSummary]) -> str:
    if not generators:
        return ""
    error = duration(max(one.clock_error for one in generators))
    return f" · {len(generators)} in the cluster, their clocks known to {error}"


def integrity_text(verdict: Verdict) -> str:
    """What became of the data, in one line."""
    integrity = verdict.integrity
    unknown = f"; effect unknown for {integrity.unknown:,}" if integrity.unknown else ""
    match integrity.status:
        case "unchecked" if verdict.predicted:
            return "not predicted, because a simulated run has no rows"
        case "unchecked":
            return "not checked, because the database was not read"
        case "unknown":
            return f"unknown: no request promised anything ({integrity.checked:,} checked)"
        case "held":
            return f"no row lost, duplicated or invented ({integrity.checked:,} checked{unknown})"
        case "violated":
            some = integrity.violation_count
            return (
                f"{some:,} violation{'' if some == 1 else 's'} ({integrity.checked:,} checked"
                f"{unknown})"
            )


def longest(windows: tuple[Downtime, ...]) -> Downtime | None:
    """The window that certainly lasted longest."""
    return max(windows, key=lambda window: (window.seconds_lower, window.failed), default=None)


def least_downtime(verdict: Verdict) -> str:
    """The lower bound of the downtime of the whole run."""
    if not verdict.downtime:
        return "none seen"
    return f"at least {duration(sum(window.seconds_lower for window in verdict.downtime))}"


def downtime_text(verdict: Verdict) -> str:
    """The downtime of the whole run, in few words."""
    if not verdict.downtime:
        return least_downtime(verdict)
    peak = max(window.peak_error_ratio for window in verdict.downtime)
    number = len(verdict.downtime)
    parts = "" if number == 1 else f" in {number} outages"
    return f"{least_downtime(verdict)}{parts}; up to {share(peak)} of requests failed"


class Leaves(Protocol):
    """What is known of how replicas leave, before a run and after it."""

    @property
    def persona(self) -> str | None:
        """The platform whose defaults they leave by."""

    @property
    def termination(self) -> LeavingSettings | None:
        """The settings."""

    @property
    def handling(self) -> RequestHandling | None:
        """What our own balancer does with requests."""


def leaving_text(run: Leaves) -> str:
    """How replicas leave, in few words; empty where they are drained first, as is the default."""
    how = run.termination
    if how is None or (run.persona is None and how.order == "drain-first"):
        return ""
    name = f"persona {clean(run.persona)}" if run.persona else f"order {how.order}"
    return f"{name}, preStop {how.pre_stop_seconds:g} s"


def leaving_prefix(run: Leaves) -> str:
    """The same before other parts of a headline."""
    text = leaving_text(run)
    return f"{text} · " if text else ""


def protocol_text(verdict: Verdict) -> str:
    """Which versions of HTTP were spoken, such as `HTTP/2`; with counts if there were several."""
    spoken = verdict.protocols
    if len(spoken) == 1:
        return clean(next(iter(spoken)))
    return ", ".join(f"{clean(name)} ({number:,} requests)" for name, number in spoken.items())


def platform_text(run: Leaves) -> str:
    """How replicas leave and what the balancer does without, in one line; empty for the defaults.

    An example: `kubernetes: order together, router told 0 to 1 s late, preStop 0 s; balancer: no
    retry, no passive checks`.
    """
    parts = []
    how = run.termination
    if how is not None and leaving_text(run):
        late = lag_text(how.deregistration_lag_seconds)
        told = {"checks-only": "router never told"}.get(how.order, f"router told {late}")
        order = f"order {how.order}, {told}, preStop {how.pre_stop_seconds:g} s"
        parts.append(f"{clean(run.persona)}: {order}" if run.persona else order)
    handling = handling_text(run.handling)
    if handling:
        parts.append(f"balancer: {handling}")
    return "; ".join(parts)


def lag_text(lag: tuple[float, float]) -> str:
    """How late news arrives: `at once`, `5 s late`, `0 to 1 s late`."""
    least, most = lag
    if most == 0:
        return "at once"
    return f"{most:g} s late" if least == most else f"{least:g} to {most:g} s late"


def handling_text(handling: RequestHandling | None) -> str:
    """What our balancer does not do for requests although it could; empty if it does all."""
    if handling is None:
        return ""
    lost = (
        (not handling.retry, "no retry"),
        (not handling.passive_checks, "no passive checks"),
        (not handling.active_checks, "no active checks"),
        (handling.reuse_post, "POST on kept connections"),
    )
    return ", ".join(words for lacks, words in lost if lacks)


def run_name(verdict: Verdict) -> tuple[str, ...]:
    """The parts of a run's name: its scenario, its strategy, and how replicas left."""
    text = leaving_text(verdict)
    predicted = ("predicted",) if verdict.predicted else ()
    return (verdict.scenario, verdict.strategy, *predicted, *((text,) if text else ()))


def probed_title(probed: ProbedVersion) -> str:
    """What heads the findings of a probe."""
    return (
        f"How the server of {clean(probed.name)} stops, as probed before the run "
        f"(@ is seconds after {clean(probed.stop_signal)})"
    )


def predicted(probed: ProbedVersion) -> list[str]:
    """What the probe predicted for the run, a sentence each."""
    return [f"the probe predicted: {why}" for why in probed.predicted]


WAY_OUT = ("replica", "asked", "stopped listening", "children gone", "ended", "status", "way out")
"""The columns of the table of replicas' ends."""


def shown_ends(verdict: Verdict) -> tuple[Sequence[ReplicaEnd], int]:
    """How replicas ended, as far as a page has room, and how many more there are.

    Of thousands of replicas, those that were not stopped as asked come first.
    """
    ends = verdict.replica_ends
    if len(ends) <= SHOWN_ENDS:
        return ends, 0
    ordered = sorted(ends, key=lambda one: one.way == "stopped")
    return ordered[:SHOWN_ENDS], len(ends) - SHOWN_ENDS


def way_out(one: ReplicaEnd) -> tuple[str, ...]:
    """The row of one replica in the table of replicas' ends."""
    stamps = (one.stop_asked, one.stopped_listening, one.children_ended, one.ended)
    return (
        one.replica,
        *(MISSING if stamp is None else instant(stamp) for stamp in stamps),
        MISSING if one.exit_status is None else str(one.exit_status),
        one.words,
    )


CONTROL = ("failure", "step", "control run", "this run", "the release's own", "p-value")
"""The columns of the table that compares a release with its control run."""


def control_row(row: ControlRow) -> tuple[str, ...]:
    """One kind of failure in both runs."""
    result = "" if row.cause.endswith(f":{row.result}") or row.cause == row.result else row.result
    own = f"{row.own:,}"
    if row.every_deployment and row.failed > row.own:
        own += " (the rest counts, too: every deployment with this strategy has such failures)"
    return (
        f"{row.cause} {result}".rstrip(),
        f"{row.journey}, step {row.step}: {row.endpoint}",
        f"{row.control_failed:,} of {row.control_requests:,}",
        f"{row.failed:,} of {row.requests:,}",
        own,
        f"{row.chance:.2g}",
    )


def control_facts(control: ControlComparison) -> list[str]:
    """What the comparison with the control run comes to, in sentences."""
    there = f"{control.failed:,} of {control.requests:,} requests failed in the control run"
    if not control.usable:
        return [f"{there}, but it does not count: {'; '.join(control.unusable)}"]
    told = (
        f"of this run's failures {control.also:,} are as in the control run, and {control.own:,} "
        "are the release's own"
    )
    facts = [f"{there}, which deployed the old version again; {told}"]
    if control.every_deployment:
        facts.append(
            f"{control.every_deployment:,} failures are as in the control run and count all the "
            "same: a replica was taken away from requests, as in every deployment with this "
            "strategy"
        )
    facts += (f"the control run broke this objective, too: {one}" for one in control.broken)
    return facts


def control_text(control: ControlRun) -> str:
    """What a control run found, before the release is compared with it."""
    text = f"{control.failed:,} of {control.requests:,} requests failed in the control run"
    if control.unusable:
        return f"{text}; it does not count: {'; '.join(control.unusable)}"
    return text
