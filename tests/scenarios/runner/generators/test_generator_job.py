"""The Job of a generator, and what is said of a pod that serves no longer."""

import msgspec
import pytest

from scenarios.evidence.cluster import ContainerState, PodState
from scenarios.recording.cluster.reduced import pod as read_pod
from scenarios.runner.generators.generator_job import job, loss, start_problem

RUNNING = PodState(
    uid="1", phase="Running", containers=(ContainerState(name="generator", state="running"),)
)


def ended(exit_code: int, reason: str | None = "Error", message: str | None = None) -> PodState:
    container = ContainerState(
        name="generator", state="terminated", exit_code=exit_code, reason=reason, message=message
    )
    return msgspec.structs.replace(RUNNING, phase="Failed", containers=(container,))


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (
            PodState(uid="1", phase="Failed", reason="Evicted", message="The node was low on x."),
            "was evicted: The node was low on x.",
        ),
        (
            ended(137, "OOMKilled"),
            "was killed, since it used more memory than its limit (OOMKilled)",
        ),
        (ended(137), "was killed (SIGKILL)"),
        (ended(2), "ended with status 2"),
        (ended(128, "StartError", "no python"), "ended with status 128 (StartError): no python"),
        (
            msgspec.structs.replace(RUNNING, deleted_wall_ns=1),
            "was evicted or deleted, as by a drain of its node",
        ),
        (
            PodState(uid="1", phase="Failed", reason="NodeLost"),
            "failed: NodeLost",
        ),
    ],
)
def test_each_loss_has_its_own_words(pod: PodState, words: str) -> None:
    """They begin with the verb, since the generator is their subject."""
    assert loss(pod) == words
    assert start_problem(pod) == words


def test_a_pod_that_runs_is_not_lost() -> None:
    """Unless the cluster has removed it."""
    assert loss(RUNNING) is None
    assert start_problem(RUNNING) is None
    assert loss(RUNNING, gone=True) is not None


@pytest.mark.parametrize(
    ("reason", "hopeless"),
    [("ContainerCreating", False), ("ErrImagePull", False), ("ImagePullBackOff", True)],
)
def test_a_pod_that_waits_may_still_start(reason: str, *, hopeless: bool) -> None:
    """A first pull that fails is tried again; after that, the cluster's words are told."""
    waiting = ContainerState(name="generator", reason=reason, message="no such image")
    problem = start_problem(PodState(uid="1", containers=(waiting,)))
    assert problem == (f"{reason}: no such image" if hopeless else None)


def test_the_job_asks_for_no_rights() -> None:
    """So it fits a namespace with the profile `restricted` of the Pod Security Standards."""
    made = job(2, image="hitless:1", labels={"hitless/run": "r"}, token_sha256="00")
    assert made["metadata"]["labels"]["hitless/run"] == "r"
    assert made["spec"]["backoffLimit"] == 0
    pod = made["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    template = {**made["spec"]["template"]["metadata"], "name": "generator-2-x", "uid": "u"}
    state = read_pod({"metadata": template, "spec": pod})
    assert [one.name for one in state.containers] == ["generator"]
    assert state.containers[0].image == "hitless:1"
