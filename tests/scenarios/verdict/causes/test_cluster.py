"""Failed requests on a cluster: which pod they met, why, and what in the manifest prevents it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.evidence.cluster import ClusterChange
from scenarios.evidence.manifest import ClusterSettings
from scenarios.verdict import Verdict
from scenarios.verdict.cluster.cluster_history import ClusterHistory
from scenarios.verdict.model import Cause
from tests.support import cluster as k8s
from tests.support import evidence as make

SETTINGS = ClusterSettings(
    server="https://cluster.test", version="v1.20.2", namespace="shop", deployment="web"
)
REFUSED: dict[str, Any] = {
    "status": None,
    "error": "connect_refused",
    "served_by": None,
    "connection": "new",
    "first_byte_ns": None,
    "subject": None,
}
PHASES = [
    make.event(-1.1, "phase", "started", 1, detail={"name": "setup"}),
    make.event(0.0, "phase", "started", 2, detail={"name": "baseline"}),
    make.event(2.0, "phase", "started", 3, detail={"name": "rollout"}),
    make.event(2.0, "release", "started", 4),
    make.event(5.0, "release", "completed", 4),
    make.event(5.0, "phase", "started", 5, detail={"name": "settle"}),
]


def judged(
    changes: list[ClusterChange],
    *failures: tuple[float, float, dict[str, Any]],
    **manifest: Any,
) -> Verdict:
    """The verdict of a run with this evidence in which these requests fail."""
    run = make.clean()
    run = run.but(
        events=PHASES,
        before=None,
        after=None,
        mails=[],
        outcomes=[make.msgspec.structs.replace(one, served_by=None) for one in run.outcomes],
    ).asked(platform="kubernetes", router="foreign", cluster=SETTINGS, **manifest)
    for start, end, how in failures:
        run = run.failing(start, end, **how)
    return run.judge(cluster_changes=changes)


def only(verdict: Verdict) -> Cause:
    """The one cause."""
    (cause,) = verdict.causes
    return cause


def test_requests_after_sigterm_name_the_pod_and_the_delay() -> None:
    """They are `lifecycle:undrained`, with the pod, how late, and the preStop that covers them."""
    verdict = judged(k8s.changes(k8s.rollout()), (3.05, 3.4, REFUSED))
    cause = only(verdict)
    assert (cause.cause, cause.confidence, cause.count) == ("lifecycle:undrained", "likely", 36)
    assert set(cause.evidence.replicas) == {"web-1"}
    assert set(cause.evidence.versions) == {"web:a"}
    assert cause.evidence.undrained is not None
    assert cause.evidence.undrained.replicas == {"web-1": pytest.approx(0.39, abs=0.02)}
    example = cause.evidence.examples[0]
    assert example.replica == "web-1"
    assert example.lag_seconds == pytest.approx(0.05, abs=0.01)
    assert [(one.replica, one.way) for one in verdict.replica_ends] == [("web-1", "stopped")]
    (advice,) = verdict.advice
    assert (advice.setting, advice.value, advice.covers) == ("lifecycle.preStop", 2.0, 36)
    assert advice.sentence.startswith(
        "deployment/web: a preStop delay of 1 s would have covered 36 failed requests (there is "
        "none now)"
    )
    assert 'preStop: {exec: {command: [sleep, "2"]}}' in advice.sentence


@settings(max_examples=15)
@given(lag=st.floats(0.02, 0.9), current=st.integers(0, 5).map(float), left=st.floats(0.01, 0.9))
def test_the_delay_is_enough(lag: float, current: float, left: float) -> None:
    """The advised delay is longer than the whole time for which requests still came."""
    hook = {"exec": {"command": ["sleep", f"{current:g}"]}} if current else None
    sigterm = 3.0 + current
    told = k8s.rollout(left=3.0 + left, gone=sigterm + 1.5, pre_stop=hook)
    run = judged(k8s.changes(told), (sigterm + 0.01, sigterm + lag, REFUSED))
    if run.requests.failed:
        (advice,) = run.advice
        assert advice.value is not None
        assert advice.value >= current + lag
        assert advice.value == int(advice.value)


def test_a_hook_that_sleeps_moves_sigterm() -> None:
    """Requests that fail within the wait of the preStop hook did not meet a pod after SIGTERM."""
    hook = {"exec": {"command": ["/bin/sh", "-c", "sleep 2 && true"]}}
    told = k8s.rollout(gone=6.0, pre_stop=hook)
    verdict = judged(k8s.changes(told), (3.2, 3.4, REFUSED))
    assert only(verdict).cause != "lifecycle:undrained"
    assert [one.setting for one in verdict.advice if one.setting == "lifecycle.preStop"] == []


def test_a_kept_connection_that_is_closed_after_sigterm_is_no_late_request() -> None:
    """No preStop delay prevents that race, so none is advised."""
    race = {**REFUSED, "error": "eof", "connection": "reused"}
    verdict = judged(k8s.changes(k8s.rollout()), (3.05, 3.1, race))
    assert only(verdict).cause == "transport:reused_connection"
    assert verdict.advice == ()


@pytest.mark.parametrize(
    ("connection", "setting"), [("new", "lifecycle.preStop"), ("reused", "server")]
)
def test_requests_that_were_in_flight_at_sigterm(connection: str, setting: str) -> None:
    """A delay covers those on new connections, which would have gone to another pod."""
    cut = {
        **REFUSED,
        "error": "reset",
        "connection": connection,
        "sent_ns": make.at(2.99),
        "done_ns": make.at(3.01),
    }
    verdict = judged(k8s.changes(k8s.rollout()), (2.98, 3.0, cut))
    assert only(verdict).cause == "lifecycle:undrained"
    assert [one.setting for one in verdict.advice] == [setting]


def test_an_ingress_that_answers_502_for_a_pod_that_leaves() -> None:
    """The answer of an ingress is joined with the pod that it could not reach."""
    bad = {**REFUSED, "error": None, "status": 502}
    cause = only(judged(k8s.changes(k8s.rollout()), (3.05, 3.2, bad)))
    assert cause.cause == "lifecycle:undrained"
    assert set(cause.evidence.replicas) == {"web-1"}


def test_a_pod_without_a_readiness_probe_gets_requests_too_early() -> None:
    """The requests that a new pod refused are told from those that met an old one."""
    told = k8s.rollout(probed=False, deleted=3.4, left=3.5, gone=4.5)
    verdict = judged(k8s.changes(told), (3.0, 3.3, REFUSED))
    cause = only(verdict)
    assert (cause.cause, set(cause.evidence.replicas)) == ("lifecycle:ready_too_early", {"web-4"})
    assert "it has no readiness probe" in cause.title
    (advice,) = verdict.advice
    assert advice.setting == "readinessProbe"
    assert "give its pods a readinessProbe" in advice.sentence


def test_a_readiness_probe_that_lies() -> None:
    """A probe that answers before the server can serve is named as such."""
    told = k8s.rollout(deleted=4.4, left=4.5, gone=5.5)
    verdict = judged(k8s.changes(told), (3.0, 3.3, REFUSED))
    assert "its readiness probe succeeded" in only(verdict).title
    (advice,) = verdict.advice
    assert "let the readiness probe ask the server" in advice.sentence


def test_a_pod_that_exceeds_its_memory_limit() -> None:
    """OOMKilled is told from every other end, with the container."""
    out = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": k8s.stamp(3)}
    told = [
        *((-0.9, "Pod", "listed", k8s.pod(name)) for name in ("web-1", "web-2")),
        (-0.9, "EndpointSlice", "listed", k8s.endpoints({"web-1": True, "web-2": True})),
        (3.3, "Pod", "modified", k8s.pod("web-1", ready=False, state={"terminated": out})),
        (3.4, "EndpointSlice", "modified", k8s.endpoints({"web-1": False, "web-2": True})),
        (4.0, "Pod", "modified", k8s.pod("web-1", restarts=1, last=out)),
    ]
    verdict = judged(k8s.changes(told), (3.1, 3.3, REFUSED))
    cause = only(verdict)
    assert (cause.cause, set(cause.evidence.replicas)) == ("lifecycle:oom_killed", {"web-1"})
    (advice,) = verdict.advice
    assert advice.setting == "resources.limits.memory"
    assert [(one.replica, one.way) for one in verdict.replica_ends] == [("web-1", "died")]


def test_a_pod_that_was_evicted() -> None:
    """An eviction is told in the words of the kubelet."""
    gone = k8s.pod(
        "web-1", ready=False, phase="Failed", state=k8s.ended(137, 3, "Error"),
        reason="Evicted", message="The node was low on resource: memory.",
    )  # fmt: skip
    told = [
        *((-0.9, "Pod", "listed", k8s.pod(name)) for name in ("web-1", "web-2")),
        (-0.9, "EndpointSlice", "listed", k8s.endpoints({"web-1": True, "web-2": True})),
        (3.3, "Pod", "modified", gone),
        (3.4, "EndpointSlice", "modified", k8s.endpoints({"web-2": True})),
    ]
    cause = only(judged(k8s.changes(told), (3.1, 3.3, REFUSED)))
    assert cause.cause == "lifecycle:evicted"
    assert "low on resource: memory" in cause.title


def test_a_pod_that_is_killed_at_the_end_of_its_grace_period() -> None:
    """Its requests in flight are its kill's, and the objective `termination` is missed."""
    state = k8s.ended(137, 4.0, "Error")
    told = [
        *((-0.9, "Pod", "listed", k8s.pod(name, grace=1)) for name in ("web-1", "web-2")),
        (-0.9, "EndpointSlice", "listed", k8s.endpoints({"web-1": True, "web-2": True})),
        (3.0, "Pod", "modified", k8s.pod("web-1", deleted=3, grace=1)),
        (3.1, "EndpointSlice", "modified", k8s.endpoints({"web-2": True})),
        (4.6, "Pod", "modified", k8s.pod("web-1", deleted=3, grace=1, ready=False, state=state)),
    ]
    cut = {**REFUSED, "error": "reset", "done_ns": make.at(4.5)}
    verdict = judged(k8s.changes(told), (2.9, 2.95, cut))
    assert only(verdict).cause == "lifecycle:killed"
    assert [(one.replica, one.way) for one in verdict.replica_ends] == [("web-1", "killed")]
    assert verdict.advice[0].setting == "terminationGracePeriodSeconds"


def test_one_pod_for_the_whole_service() -> None:
    """Where the only pod goes before another one is ready, the cause says that nobody was left."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    told = [
        (-0.9, "Pod", "listed", k8s.pod("web-1")),
        (-0.9, "EndpointSlice", "listed", k8s.endpoints({"web-1": True})),
        (-0.9, "Deployment", "listed", k8s.deployment(1, strategy=strategy)),
        (3.0, "Pod", "modified", k8s.pod("web-1", deleted=3)),
        (3.1, "EndpointSlice", "modified", k8s.endpoints({})),
        (4.0, "Pod", "added", k8s.pod("web-2")),
        (4.1, "EndpointSlice", "modified", k8s.endpoints({"web-2": True})),
    ]
    verdict = judged(k8s.changes(told), (3.2, 4.0, REFUSED))
    cause = only(verdict)
    assert cause.cause == "no_backend"
    assert "one replica, which was deleted before another one was ready" in cause.title
    assert "(maxUnavailable 1)" in cause.title
    assert "run two replicas or more" in verdict.advice[0].sentence


def test_the_strategy_recreate_leaves_nobody() -> None:
    """`Recreate` is named, and what to use in its place."""
    told = [
        *((-0.9, "Pod", "listed", k8s.pod(name)) for name in ("web-1", "web-2")),
        (-0.9, "EndpointSlice", "listed", k8s.endpoints({"web-1": True, "web-2": True})),
        (-0.9, "Deployment", "listed", k8s.deployment(2, strategy={"type": "Recreate"})),
        *((3.0, "Pod", "modified", k8s.pod(name, deleted=3)) for name in ("web-1", "web-2")),
        (3.1, "EndpointSlice", "modified", k8s.endpoints({})),
    ]
    verdict = judged(k8s.changes(told), (3.2, 4.0, REFUSED))
    assert "Recreate" in only(verdict).title
    assert "RollingUpdate with maxUnavailable 0" in verdict.advice[0].sentence


def test_an_image_that_does_not_exist() -> None:
    """A release that failed names the pods that did not start, in the cluster's own words."""
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    told = [
        *k8s.rollout()[:5],
        (2.5, "Pod", "added", k8s.pod("web-4", ready=False, image="web:c", state=waiting)),
    ]
    verdict = judged(
        k8s.changes(told), outcome="failed", outcome_reason="deployment/web makes no progress"
    )
    cause = only(verdict)
    assert (cause.cause, cause.count) == ("lifecycle:image", 0)
    assert cause.title == "1 pod of web:c did not start: ErrImagePull: no such image"
    assert verdict.verdict == "fail"


def test_a_migration_job_that_failed_is_a_migration_of_the_run() -> None:
    """It is named by its Job, with the reason; requests that failed meanwhile know of it."""
    meta = {"metadata": {"name": "migrate"}}
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "no"}
    told = [
        *k8s.rollout(),
        (2.2, "Job", "added", {**meta, "status": {"active": 1}}),
        (3.8, "Job", "modified", {**meta, "status": {"failed": 1, "conditions": [failed]}}),
    ]
    verdict = judged(
        k8s.changes(told), (3.05, 3.1, REFUSED), outcome="failed", outcome_reason="job"
    )
    first, second = verdict.causes
    assert first.evidence.contributing == {"migration: job/migrate": 5}
    assert second.title == "job/migrate failed: BackoffLimitExceeded: no"


def test_a_failed_job_has_the_last_words_of_its_pod() -> None:
    """The cluster only says that it failed; why is in the log."""
    meta = {"metadata": {"name": "migrate"}}
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "no"}
    state = {"terminated": {"exitCode": 1, "message": "ERROR: column is missing (42703)"}}
    pod = k8s.pod("migrate-x", state=state)
    pod["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "migrate", "controller": True}]
    told = [
        *k8s.rollout(),
        (2.2, "Job", "added", {**meta, "status": {"active": 1}}),
        (3.7, "Pod", "modified", pod),
        (3.8, "Job", "modified", {**meta, "status": {"failed": 1, "conditions": [failed]}}),
    ]
    verdict = judged(k8s.changes(told), outcome="failed", outcome_reason="job")
    assert only(verdict).title == (
        "job/migrate failed: BackoffLimitExceeded: ERROR: column is missing (42703)"
    )


def test_a_job_of_the_run_is_one_migration() -> None:
    """The journal tells of it, and so does the cluster; the timeline has it once."""
    done = {"conditions": [{"type": "Complete", "status": "True"}]}
    found = ClusterHistory(
        k8s.changes(
            [
                (2.1, "Job", "added", {"metadata": {"name": "migrate-1"}, "status": {"active": 1}}),
                (2.5, "Job", "modified", {"metadata": {"name": "migrate-1"}, "status": done}),
                (2.6, "Job", "added", {"metadata": {"name": "hook"}, "status": done}),
            ]
        )
    )
    detail = {"migration": "job/migrate-1"}
    own = [make.event(2.0, "migrate", "started", 7, detail=detail)]
    names = [one.detail["migration"] for one in found.events_beside(own)]
    assert names == ["job/hook", "job/hook"]
    assert len(found.events_beside([])) == 4


def test_a_pod_that_the_run_started_is_told_by_its_journal_alone() -> None:
    """The journal knows when each of them left; of a pod that is none of its own the cluster tells.

    Otherwise each start and each stop of a strategy of ours would count twice.
    """
    told = [(0.5, "Pod", "added", k8s.pod(name)) for name in ("a-1", "other")]
    found = ClusterHistory(k8s.changes(told))
    assert {name for one in found.events for name in one.replicas} == {"a-1", "other"}
    own = [make.event(0.1, "start", "started", 1, replicas=("a-1",))]
    assert {name for one in found.events_beside(own) for name in one.replicas} == {"other"}


def test_a_pod_has_the_version_that_a_run_applied() -> None:
    """Where nobody knows which image is which version, it is the image."""
    told = k8s.changes(k8s.rollout())
    history = ClusterHistory(told, "web", versions={"web:a": "a"})
    assert [pod.version for pod in history.pods] == ["a", "a", "a", "web:b"]


def test_a_job_of_the_same_name_is_another_one() -> None:
    """Helm deletes the Job of the last release before it makes that of this one."""
    meta = {"metadata": {"name": "migrate"}}
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "no"}
    old = {**meta, "status": {"failed": 1, "conditions": [{**failed, "reason": "Old"}]}}
    new = {**meta, "status": {"active": 1}}
    told = [
        *k8s.rollout(),
        (-0.9, "Job", "listed", old),
        (2.1, "Job", "modified", {**old, "metadata": {"name": "migrate", "labels": {"a": "b"}}}),
        (2.2, "Job", "deleted", old),
    ]
    refused = (3.05, 3.1, REFUSED)
    lost = {"outcome": "failed", "outcome_reason": "job"}
    (only_one,) = judged(k8s.changes(told), refused, **lost).causes
    assert only_one.evidence.contributing == {}
    again = [*told, (2.3, "Job", "added", new), (3.8, "Job", "modified", {**old, **meta})]
    first, second = judged(k8s.changes(again), refused, **lost).causes
    assert first.evidence.contributing == {"migration: job/migrate": 5}
    assert second.title == "job/migrate failed: Old: no"
    assert second.evidence.first == pytest.approx(3.8)


def test_a_node_that_is_drained_is_a_contributing_event() -> None:
    """The pods that leave do so because of the node; the cause stays that of their leaving."""
    told = [
        *k8s.rollout(),
        (-0.9, "Node", "listed", {"metadata": {"name": "node-1"}}),
        (
            2.95,
            "Node",
            "modified",
            {"metadata": {"name": "node-1"}, "spec": {"unschedulable": True}},
        ),
    ]
    cause = only(judged(k8s.changes(told), (3.05, 3.1, REFUSED)))
    assert cause.cause == "lifecycle:undrained"
    assert cause.evidence.contributing == {"node drained: node-1": cause.count}


@pytest.mark.parametrize("part", ["init", "unschedulable"])
def test_a_pod_that_never_starts(part: str) -> None:
    """An init container that fails and a pod that no node takes are told in the cluster's words."""
    found = k8s.pod("web-4", ready=False, image="web:c", state={"waiting": {}})
    if part == "init":
        found["spec"]["initContainers"] = [{"name": "migrate", "image": "web:c"}]
        waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
        found["status"]["initContainerStatuses"] = [{"name": "migrate", "state": waiting}]
        words = "CrashLoopBackOff: back-off 10s"
    else:
        found["status"]["conditions"].append(
            {"type": "PodScheduled", "reason": "Unschedulable", "message": "Insufficient cpu."}
        )
        words = "Unschedulable: Insufficient cpu."
    told = [*k8s.rollout()[:5], (2.5, "Pod", "added", found)]
    verdict = judged(k8s.changes(told), outcome="failed", outcome_reason="no progress")
    assert only(verdict).title == f"1 pod of web:c did not start: {words}"
    assert only(verdict).cause == "lifecycle:failed_to_start"


def test_the_limits_say_what_a_cluster_does_not_tell() -> None:
    """The error of the clock, what was not watched and what may be missing are in the verdict."""
    changes = k8s.changes(k8s.rollout())
    changes.append(ClusterChange(at_ns=make.at(4), change="gap", name="Pod", error="too old"))
    settings = make.msgspec.structs.replace(SETTINGS, unseen=("nodes were not watched",))
    run = make.clean().but(events=PHASES, before=None, after=None)
    run = run.asked(platform="kubernetes", router="foreign", cluster=settings)
    limits = " ".join(run.judge(cluster_changes=changes).limits)
    assert "its clock is known to 0.01 s" in limits
    assert "of the cluster: nodes were not watched" in limits
    assert "changes of the cluster may be missing: Pod: too old" in limits


@settings(max_examples=5)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_evidence_does_not_matter(random: Any) -> None:
    """Watches of several kinds are recorded as they come; the verdict is the same."""
    changes = k8s.changes(k8s.rollout())
    expected = judged(changes, (3.05, 3.4, REFUSED))
    shuffled = list(changes)
    random.shuffle(shuffled)
    assert judged(shuffled, (3.05, 3.4, REFUSED)).causes == expected.causes
