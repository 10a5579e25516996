"""What a run could not have seen: said with every verdict, above all with a good one."""

from collections.abc import Iterable

from scenarios.evidence.manifest import ClusterSettings
from scenarios.verdict.cluster.cluster_history import ClusterHistory
from scenarios.verdict.decision import Findings, number
from scenarios.verdict.measures.slo import bad_rollout_upper, percent_up
from scenarios.verdict.model import Availability, ControlComparison, Slots

SURE = 0.05
"""From this chance on, as many failures may well be missing from a control run."""

_NO_CLUSTER = ClusterHistory()

HELD_UP_SECONDS = 0.1
"""From here on a generator that was late is worth a word."""


def limits_of(
    findings: Findings,
    availability: Availability,
    *,
    logged: bool,
    heard: bool,
    unmatched: int,
    cluster: ClusterHistory = _NO_CLUSTER,
) -> Iterable[str]:
    """The limits of a run, in sentences.

    Args:
        findings: what was found.
        availability: the same in numbers.
        logged: whether the balancer's log tells of the failed requests.
        heard: whether the database server's log was read.
        unmatched: how many errors that the server logged are of no known replica's session.
        cluster: what the cluster did on which the replicas are pods.
    """
    yield from _about_model(findings)
    whole = availability.smallest_detectable_outage_seconds
    one = availability.smallest_detectable_outage_one_replica_seconds
    if whole is not None and one is not None:
        yield (
            f"an outage may go unnoticed between two requests if it is shorter than "
            f"{_short(whole)} (all replicas) or {_short(one)} (one of "
            f"{findings.manifest.replicas} replicas); at exactly that length the chance is 5 %"
        )
    bound = percent_up(availability.failure_rate_upper_95)
    yield (
        f"the true failure rate may be up to {bound} (95 % confidence, if failures are independent)"
    )
    if findings.requests.ok and not findings.requests.failed:
        yield (
            f"one good rollout only shows that fewer than {bad_rollout_upper(1) * 100:.0f} % of "
            "such rollouts fail (95 % confidence); 59 good ones in a row show fewer than 5 %"
        )
    if availability.slots.no_data:
        slots = availability.slots
        yield (
            f"no request was planned in {slots.no_data * slots.seconds:.1f} s of "
            f"{_span(slots):.1f} s; that time counts neither as up nor as down"
        )
    yield from _about_data(findings)
    if not any(share.requests for share in findings.versions) and findings.requests.ok:
        yield (
            "no response named its replica (X-Served-By), so it is unknown which replica answered"
        )
    if findings.manifest.router_lacks:
        named = findings.manifest.router_version or findings.manifest.router
        yield f"of {named}: {'; '.join(findings.manifest.router_lacks)}"
    yield from _unseen(findings)
    if findings.control is not None:
        yield from _about_control(findings.control)
    if not heard and findings.manifest.database is not None:
        yield (
            "the database server's log was not read, because the server is not the run's own and "
            "neither --database-log nor database.log names its log; an SQLSTATE is known only "
            "where an answer or the log of a replica has it"
        )
    if unmatched and findings.requests.failed:
        of = "is of a session" if unmatched == 1 else "are of sessions"
        yield (
            f"{number(unmatched, 'error')} that the database server logged {of} that could not be "
            "matched to a replica, so each may explain a request of any replica: the session's "
            "name has no replica's id, and its client was gone before anybody looked, or came from "
            "another machine or over a Unix socket, which has no port"
        )
    yield from _about_log(findings, cluster, logged=logged)


def _about_log(findings: Findings, cluster: ClusterHistory, *, logged: bool) -> Iterable[str]:
    if findings.manifest.cluster is not None:
        yield from _about_cluster(cluster, findings.manifest.cluster)
    elif not logged:
        yield (
            "the balancer's access log has none of the failed requests, so the causes rest on "
            "what the client saw"
        )


def _about_cluster(cluster: ClusterHistory, settings: ClusterSettings) -> Iterable[str]:
    yield (
        "a request to a Service names no pod: which pod a failed request met follows from what "
        "the pods did at that time, and is another one if several left or came at once"
    )
    if cluster.clock_error_seconds is not None:
        yield (
            "stamps of the cluster (when a container ended) are whole seconds; its clock is known "
            f"to {cluster.clock_error_seconds:.2f} s. What was watched (readiness, deletions, "
            "endpoints) is stamped when it was received, so it came a little earlier"
        )
    if any(pod.deleted_ns is not None for pod in cluster.pods):
        yield (
            "no API tells when a container got SIGTERM: it is the deletion of its pod and the wait "
            "of its preStop hook, and a node may be some tenths of a second late"
        )
    for unseen in settings.unseen:
        yield f"of the cluster: {unseen}"
    for gap in cluster.gaps:
        yield f"changes of the cluster may be missing: {gap}"


def _about_model(findings: Findings) -> Iterable[str]:
    if findings.manifest.predicted:
        yield (
            "this verdict is predicted: no process, socket, database or router ran. The model "
            "knows only what [simulation] of the scenario says, and nothing of kernel queues, "
            "garbage collection, memory or query plans"
        )
    if findings.counted:
        yield (
            f"{number(findings.counted, 'successful request')} were counted by tenths of a second, "
            "so the begin and the end of an outage are known to 0.1 s"
        )


def _about_control(control: ControlComparison) -> Iterable[str]:
    if not control.usable:
        yield (
            f"nothing is known of failures without the release, because the control run does not "
            f"count: {'; '.join(control.unusable)}; so every failure counts"
        )
        return
    rare = sum(row.failed for row in control.rows if row.own and row.chance > SURE)
    if rare:
        yield (
            f"{number(rare, 'failed request')} of a kind that the control run did not have "
            f"{'is' if rare == 1 else 'are'} too few to be sure that the release is to blame; the "
            "verdict counts them as the release's own"
        )


def _about_data(findings: Findings) -> Iterable[str]:
    if findings.manifest.processes and findings.jobs is None:
        yield (
            "processes ran beside the web, and without a [jobs] table nobody looked at their jobs, "
            "so a lost job cannot be detected"
        )
    integrity = findings.integrity
    if integrity.status == "unchecked" and findings.manifest.predicted:
        yield "a predicted run has no rows, so lost or duplicated data cannot be detected"
    elif integrity.status == "unchecked":
        yield "the database was not read, so lost or duplicated data cannot be detected"
    elif integrity.status == "unknown":
        yield "no request promised anything about the data, so no promise was checked"
    if integrity.unknown:
        yield (
            f"the client does not know whether its requests about "
            f"{number(integrity.unknown, 'subject')} took effect; the database has "
            f"{integrity.recovered:,} of them; a row that exists or is missing there counts as "
            "correct"
        )


def _unseen(findings: Findings) -> Iterable[str]:
    if findings.rescued.words:
        yield f"another balancer may drop what this one saved: {findings.rescued.words}"
    held_up = findings.harness.schedule_lag_max
    if held_up is not None and held_up > HELD_UP_SECONDS:
        yield (
            f"the load generator was once {_short(held_up)} late and observed nothing during "
            "that time"
        )
    clocks = [one.clock_error for one in findings.harness.generators]
    if clocks:
        many = f"{len(clocks)} generators" if len(clocks) > 1 else "one generator"
        yield (
            f"the load came from {many} in the cluster, whose clocks were compared with the run's "
            f"before and after the traffic: their times may be up to {_fine(max(clocks))} off"
        )
    if findings.paced:
        was, its = ("was", "its user") if findings.paced == 1 else ("were", "their users")
        yield (
            f"{number(findings.paced, 'request')} {was} not judged for slowness, because {its} "
            "sent or read slowly on purpose, or stayed connected"
        )
    if not findings.locks.watched and not findings.manifest.predicted:
        yield "lock waits in the database were not recorded, so no delay is attributed to a lock"


def _span(slots: Slots) -> float:
    return slots.seconds * (slots.good + slots.bad + slots.no_data)


def _fine(seconds: float) -> str:
    return f"{seconds * 1e3:.2g} ms" if seconds < 0.1 else _short(seconds)  # noqa: PLR2004 - 100 ms


def _short(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
