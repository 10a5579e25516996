"""What a run comes to in one causal sentence, built from the evidence in its verdict.

An example: `Migration 0001 made "status" of subscriptions NOT NULL while version a, which does not
write it, still served: 696 requests to POST /subscriptions failed within 21.6 s.` The human words
come first; the ids of causes stand beside the numbers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from scenarios.reports import cause_words, words
from scenarios.verdict.model import NO_UPSTREAM, Cause, Verdict

_NULL = re.compile(r'null value in column "(?P<column>[^"]+)"(?: of relation "(?P<table>[^"]+)")?')
_COLUMN = re.compile(r'column "?(?P<what>[^" ]+)"?(?: of relation "(?P<table>[^"]+)")? does not')
_TABLE = re.compile(r'relation "(?P<what>[^"]+)" does not exist')
_MIGRATING = re.compile(r"^migrate (?P<migration>\S+)")


class Told(NamedTuple):
    """A cause as people tell it.

    Attributes:
        happened: what happened, a clause without a full stop.
        safe_way: what would have prevented it; empty if the evidence does not tell.
    """

    happened: str
    safe_way: str = ""


class Summary(NamedTuple):
    """What a run comes to.

    Attributes:
        sentence: what happened and to whom.
        safe_way: what would prevent it; empty where nothing has to be prevented, or nobody knows.
    """

    sentence: str
    safe_way: str = ""


def summary_of(verdict: Verdict) -> Summary:
    """The causal sentence of a verdict, and the safe way."""
    if verdict.verdict == "pass":
        return Summary(_passed(verdict))
    if verdict.verdict == "invalid":
        return Summary(
            f"This run says nothing about the release: {verdict.reasons[0]}.", _calmer(verdict)
        )
    main = next((one for one in verdict.causes if one.count > one.excused), None)
    if main is None:
        return _without_failures(verdict)
    told = tell(main, verdict)
    others = sum(one.count - one.excused for one in verdict.causes) - main.count + main.excused
    more = f"; {others:,} more failed for other reasons" if others else ""
    return Summary(
        f"{_capital(told.happened)}: {_suffered(main)}{more}.",
        told.safe_way and f"{told.safe_way}.",
    )


def beside(verdict: Verdict, summary: Summary) -> list[str]:
    """What else decided: the other objectives that were missed, or why the run says nothing."""
    if verdict.verdict == "pass":
        return []
    counted = {check.sentence for check in verdict.checks if check.check == "failed_requests"}
    return [
        words.clean(reason)
        for reason in verdict.reasons
        if reason not in counted and words.clean(reason) not in summary.sentence
    ]


def tell(cause: Cause, verdict: Verdict) -> Told:
    """A cause as people tell it."""
    kind, _, code = cause.cause.partition(":")
    by_state = _STATES.get(code) if kind == "sqlstate" else None
    by_cause = _CAUSES.get(cause.cause) or _KINDS.get(cause.kind)
    told = (by_state and by_state(cause, verdict)) or (by_cause and by_cause(cause, verdict))
    advised = next((one.sentence for one in verdict.advice if one.cause == cause.cause), "")
    found = told or Told(cause_words.in_words(cause).rstrip("."))
    return (
        found
        if found.safe_way or not advised
        else found._replace(safe_way=f"Safe way: {_plain(advised)}")
    )


def _suffered(cause: Cause) -> str:
    """Who suffered from a cause, and for how long."""
    evidence, count = cause.evidence, cause.count - cause.excused
    noun = "request" if count == 1 else "requests"
    asked = list(evidence.endpoints)
    where = f" to {words.clean(asked[0])}" if len(asked) == 1 else ""
    lasted = evidence.last - evidence.first
    within = f" within {words.duration(lasted)}" if lasted > 0 else ""
    return f"{count:,} {noun}{where} failed{within}"


def _passed(verdict: Verdict) -> str:
    requests = verdict.requests
    sent = requests.ok + requests.failed
    failed = (
        f"none of {sent:,} requests failed"
        if not requests.failed
        else f"{requests.failed:,} of {sent:,} requests failed, which the objectives allow"
    )
    lost = (
        f", and no row was lost ({verdict.integrity.checked:,} checked)"
        if verdict.integrity.status == "held"
        else ""
    )
    return f"{_capital(failed)}{lost}."


def _calmer(verdict: Verdict) -> str:
    text = " ".join((*verdict.reasons, *verdict.doubts))
    if "load generator" in text or "machine" in text:
        return "Run it again on a machine with less to do, or with less traffic: --rate auto."
    if "baseline" in text:
        return "Let the old version serve without failures first: hitless run FILE --dry-run."
    return ""


def _without_failures(verdict: Verdict) -> Summary:
    """No request failed, and yet an objective was missed."""
    integrity, rollout = verdict.integrity, verdict.rollout
    if integrity.violation_count:
        broken = next(one for one in integrity.invariants if one.violations)
        rows = "row" if broken.violations == 1 else "rows"
        return Summary(
            f"No request failed, but {broken.violations:,} {rows} broke a promise: "
            f"{words.clean(broken.title)}."
        )
    jobs = verdict.jobs
    lost = None if jobs is None else next((one for one in jobs.causes if not one.accepted), None)
    if lost is not None:
        many = f"{lost.count:,} jobs did not end as they"
        who = "1 job did not end as it" if lost.count == 1 else many
        return Summary(
            f"No request failed, but {who} should have: {_plain(lost.title)}.",
            "" if lost.remedy is None else f"What helps: {_plain(lost.remedy)}.",
        )
    if rollout.outcome != rollout.expected:
        ended = words.clean(rollout.outcome.replace("_", " "))
        why = f": {words.clean(rollout.reason)}" if rollout.reason else ""
        return Summary(f"The release was not completed ({ended}){why}.")
    return Summary(_capital(f"{words.clean(verdict.reasons[0])}."))


def _not_null(cause: Cause, _: Verdict) -> Told | None:
    found = _NULL.search(cause.title)
    if found is None:
        return None
    column, table = found["column"], found["table"]
    what = f'"{column}"' + (f" of {table}" if table else "")
    version, migration = _version(cause), _migration(cause)
    if migration is None:
        return Told(f"version {version} did not write {what}, which is NOT NULL")
    return Told(
        f"migration {migration} made {what} NOT NULL while version {version}, which does not write "
        "it, still served",
        "Safe way: add the column as nullable or with a default, deploy the version that writes "
        "it, backfill the old rows, and only then require it",
    )


def _missing(cause: Cause, verdict: Verdict) -> Told | None:
    """Something that a version uses is not in the schema: not yet, or not any more."""
    found, noun = _COLUMN.search(cause.title), "column"
    if found is None:
        found, noun = _TABLE.search(cause.title), "table"
    if found is None:
        return None
    version, migration = _version(cause), _migration(cause)
    what = f'the {noun} "{found["what"]}"'
    if not cause.evidence.versions:
        # Somebody else migrated, and a change is seen a moment after it was made.
        migration = migration or next(map(words.clean, cause.evidence.schemas), None)
        changed = "" if migration is None else f', since the schema changed ("{migration}")'
        return Told(
            f"the application uses {what}, which is not there{changed}",
            "Safe way: first deploy a version that does not use it any more, and then remove it",
        )
    if version != _oldest(verdict):
        return Told(
            f"version {version} served before the migration that makes {what}, which it needs",
            "Safe way: apply the migration first, in a form that the old version works with, and "
            "then deploy",
        )
    if migration is None:
        return Told(f"version {version} uses {what}, which is not there")
    return Told(
        f"migration {migration} removed {what} while version {version}, which uses it, "
        "still served",
        "Safe way: first deploy a version that does not use it any more, and then remove it",
    )


def _mixed_fleet(cause: Cause, verdict: Verdict) -> Told:
    """Two versions that do not work side by side: a contrast says how, or a route is lacking."""
    line = cause.cause.removeprefix("mixed_fleet:")
    if line == cause.cause:
        return _lacking_route(cause, verdict)
    # The numbers of the contrast, and the symptom, stand beside the cause.
    return Told(cause_words.in_words(cause).partition(" (")[0], _SAFE_ORDERS.get(line, ""))


_READ_FIRST = (
    "Safe way: first deploy a version that understands both forms and still writes the old one, "
    "and only then the version that writes the new one"
)
_SAFE_ORDERS: Mapping[str, str] = {
    "after_write": _READ_FIRST,
    "after_served": _READ_FIRST,
    "after_migration": (
        "Safe way: first deploy a version that works with both schemas, and only then migrate"
    ),
    "previous_version": (
        "Safe way: let both versions serve what either of them hands out, such as the assets of "
        "the other build, or keep each user on one version (balancer.affinity_cookie)"
    ),
}
"""What would have prevented failures that a contrast explains, by its line."""


def _lacking_route(cause: Cause, verdict: Verdict) -> Told:
    version = _version(cause)
    other = next((one.version for one in reversed(verdict.versions) if one.version != version), "")
    newer = f"version {other}" if other else "another version"
    return Told(
        f"version {version} got requests that only {newer} can serve, because both served at once",
        "Safe way: first deploy a version that serves them but does not yet lead users to them, "
        "or switch all traffic at once (blue-green)",
    )


def _by_proxy(cause: Cause, verdict: Verdict) -> Told | None:
    """What the log of a watched service's proxy says, with the upstream if it was always one."""
    kind, _, words_of = cause.title.partition(": ")
    if verdict.platform != "foreign" or kind != "proxy":
        return None
    upstreams = list(cause.evidence.replicas)
    named = words.clean(words_of)
    if len(upstreams) == 1:
        named = named.replace("the upstream", f"the upstream {words.clean(upstreams[0])}", 1)
    return Told(named)


def _service(cause: Cause, verdict: Verdict) -> Told | None:
    """A service behind the application: its version is no match for the caller's."""
    _, name, *version = map(words.clean, cause.cause.split(":"))
    if not version:
        return None
    known = next((one for one in verdict.services if one.service == name), None)
    newer = known is not None and version[0] in known.versions[1:]
    safe = (
        f"Safe way: first deploy a version of {name} that works with both versions of its caller, "
        f"then the caller, and only then a version of {name} without the old form"
    )
    deployed = ", which was deployed behind it" if newer else ""
    return Told(
        f"version {_version(cause)} does not work with version {version[0]} of service "
        f"{name}{deployed}",
        safe,
    )


def _no_backend(cause: Cause, verdict: Verdict) -> Told:
    if cause.title == NO_UPSTREAM:
        return Told(NO_UPSTREAM)
    if verdict.strategy == "naive":
        return Told(
            "the strategy stopped all replicas before new ones were ready",
            "Safe way: start and check new replicas before the old ones stop: rolling, blue-green "
            "or canary",
        )
    return Told("no replica was up that a request could be sent to")


def _undrained(cause: Cause, _: Verdict) -> Told:
    longest = None if cause.evidence.undrained is None else cause.evidence.undrained.longest_seconds
    late = "" if longest is None else f", up to {words.duration(longest)} later"
    return Told(f"replicas got requests although they had been told to stop{late}")


def _locked(cause: Cause, verdict: Verdict) -> Told:
    blocker = next(iter(verdict.locks.blockers), None)
    if blocker is None:
        return Told(cause_words.in_words(cause))
    about = f" on {blocker.relation}" if blocker.relation else ""
    # The name of an application must not begin the sentence, which begins with a capital letter.
    whose = f" of {words.clean(blocker.application)}" if blocker.application else ""
    held = f"a session{whose} held a lock{words.clean(about)}"
    during = f" ({words.clean(blocker.during)})" if blocker.during else ""
    return Told(
        f"{held}{during} for up to {words.duration(blocker.seconds)}, and the application waited "
        "for it",
        "Safe way: set database.lock_timeout_seconds, so that a migration gives way, and change "
        "many rows in small batches",
    )


_STATES: Mapping[str, Callable[[Cause, Verdict], Told | None]] = {
    "23502": _not_null,
    "42703": _missing,
    "42P01": _missing,
}
_CAUSES: Mapping[str, Callable[[Cause, Verdict], Told | None]] = {
    "no_backend": _no_backend,
    "lifecycle:undrained": _undrained,
}
_KINDS: Mapping[str, Callable[[Cause, Verdict], Told | None]] = {
    "mixed_fleet": _mixed_fleet,
    "service": _service,
    "lock": _locked,
    "balancer": _by_proxy,
}


def _version(cause: Cause) -> str:
    """The version whose requests failed most."""
    return words.clean(next(iter(cause.evidence.versions), "?"))


def _oldest(verdict: Verdict) -> str:
    return words.clean(verdict.versions[0].version) if verdict.versions else "?"


def _migration(cause: Cause) -> str | None:
    """The migration during or after which the first requests of a cause failed.

    A request that was planned while one migration ran, after another one had just been applied, is
    ascribed to the earlier one if other requests of the cause met that one while it ran.
    """
    first = next(iter(cause.evidence.examples), None)
    if first is None:
        return None
    during, applied = _MIGRATING.match(first.step), first.schema
    if during is None or f"migration: {applied}" in cause.evidence.contributing:
        return None if applied is None else words.clean(applied)
    return words.clean(during["migration"])


def delayed_by_locks(verdict: Verdict) -> int:
    """How many requests locks delayed, by those of the first session that is named."""
    return next((one.requests for one in verdict.locks.blockers), 0)


def _plain(sentence: str) -> str:
    return words.clean(sentence).rstrip(".")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def fine(verdict: Verdict) -> Sequence[str]:
    """What went well, a few words each; all of it fits one line."""
    parts = []
    if verdict.integrity.status == "held":
        parts.append(f"data ({verdict.integrity.checked:,} rows)")
    if not verdict.downtime:
        parts.append("no downtime seen")
    ends = verdict.replica_ends
    if ends and all(one.way == "stopped" for one in ends):
        parts.append(f"all {len(ends)} replicas stopped as asked")
    if not delayed_by_locks(verdict) and not verdict.locks.deadlocks:
        parts.append("no request waited for a lock")
    if not verdict.doubts and verdict.verdict != "invalid":
        many = len(verdict.harness.generators)
        parts.append(f"{f'{many} load generators' if many > 1 else 'load generator'} on schedule")
    return parts
