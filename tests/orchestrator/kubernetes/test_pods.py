"""A pod is made from its version's template, and its state is read from what the cluster tells."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.kubernetes.namespace_view import endpoints_of
from orchestrator.kubernetes.pod_manifest import (
    SERVES,
    TemplateError,
    has_readiness_probe,
    pod_name,
    pod_of,
    port_of,
    probed_path,
    selecting_served,
    selects,
)
from orchestrator.kubernetes.pod_state import pod_state

Json = dict[str, Any]
PROBE = {"httpGet": {"path": "/ready", "port": "http"}}
TEMPLATE: Json = {
    "metadata": {"labels": {"app": "web", SERVES: "yes"}, "annotations": {"note": "kept"}},
    "spec": {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 20,
        "containers": [
            {
                "name": "web",
                "image": "shop:a",
                "ports": [{"name": "http", "containerPort": 8080}],
                "readinessProbe": PROBE,
                "env": [{"name": "PGAPPNAME", "value": "theirs"}],
                "lifecycle": {"preStop": {"exec": {"command": ["sleep", "3"]}}},
            },
            {"name": "beside", "image": "proxy:1"},
        ],
    },
}


def container(**changes: Any) -> Json:
    """A template with one container."""
    return {"spec": {"containers": [{"name": "web", "image": "shop:a", **changes}]}}


def test_a_pod_is_its_template_but_for_what_makes_it_a_replica() -> None:
    """It has the template's spec and labels, ends once, and does not serve yet."""
    env = {"PGAPPNAME": "a-1", "HITLESS_REPLICA": "a-1"}
    pod = pod_of(TEMPLATE, name="a-1", labels={"hitless/run": "r"}, env=env)
    assert pod["metadata"]["name"] == "a-1"
    assert pod["metadata"]["labels"] == {"app": "web", "hitless/run": "r"}
    assert pod["metadata"]["annotations"] == {"note": "kept"}
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["terminationGracePeriodSeconds"] == 20
    first, second = pod["spec"]["containers"]
    given_env = {one["name"]: one["value"] for one in first["env"]}
    assert given_env == {"HITLESS_REPLICA": "a-1", "PGAPPNAME": "theirs"}
    assert {key: value for key, value in first.items() if key != "env"} == {
        key: value for key, value in TEMPLATE["spec"]["containers"][0].items() if key != "env"
    }
    assert [one["name"] for one in second["env"]] == ["PGAPPNAME", "HITLESS_REPLICA"]
    assert TEMPLATE["spec"]["restartPolicy"] == "Always"  # nothing of it was changed


def test_a_template_without_a_container_is_refused() -> None:
    """The message says what is missing."""
    with pytest.raises(TemplateError, match=r"spec\.containers is empty"):
        pod_of({"spec": {}}, name="a-1", labels={}, env={})


@given(some.text(min_size=1, max_size=100))
def test_a_replica_has_a_name_that_a_pod_can_have(replica_id: str) -> None:
    """Any id becomes a DNS label, or is refused."""
    try:
        name = pod_name(replica_id)
    except TemplateError:
        assert not any(one.isascii() and one.isalnum() for one in replica_id.lower())
        return
    assert 1 <= len(name) <= 63
    assert name.strip("-") == name
    assert all(one.isascii() and (one.isdigit() or one.islower() or one == "-") for one in name)
    assert pod_name(name) == name


@pytest.mark.parametrize(
    ("template", "port", "path"),
    [
        (TEMPLATE, 8080, "/ready"),
        (container(ports=[{"containerPort": 80}]), 80, None),
        (container(readinessProbe={"httpGet": {"port": 81}}), 81, "/"),
        (container(readinessProbe={"httpGet": {"port": 81, "path": "up"}}), 81, "/up"),
        # Another port than the one that serves tells nothing of it; a socket answers no path.
        (container(ports=[{"containerPort": 80}], readinessProbe=PROBE), 80, None),
        (container(readinessProbe={"httpGet": {"port": 83, "scheme": "HTTPS"}}), 83, None),
    ],
)
def test_where_a_pod_serves(template: Json, port: int, path: str | None) -> None:
    """The port is the first one declared, else that of the probe; the path is the probe's."""
    assert (port_of(template), probed_path(template)) == (port, path)
    assert has_readiness_probe(template) == ("readinessProbe" in str(template))


@pytest.mark.parametrize("template", [{}, container(readinessProbe={"tcpSocket": {"port": 82}})])
def test_a_template_without_a_port_is_refused(template: Json) -> None:
    """Nobody could tell then where to ask the pod."""
    with pytest.raises(TemplateError, match="declares no port"):
        port_of(template)


def test_a_service_selects_only_those_that_serve() -> None:
    """The label is added to the selector; a Service that selects others is told from it."""
    service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": []}}
    assert selects(service, TEMPLATE)
    changed = selecting_served(service)
    assert changed["spec"] == {"selector": {"app": "web", SERVES: "yes"}, "ports": []}
    assert not selects({"spec": {"selector": {"app": "other"}}}, TEMPLATE)
    assert not selects({"spec": {"selector": {}}}, TEMPLATE)


def pod(state: Json | None = None, *, phase: str = "Running", **more: Any) -> Json:
    """A pod as the API tells it."""
    statuses = [{"name": "beside", "state": {"running": {}}}]
    if state is not None:
        statuses.append({"name": "web", "state": state, **more.pop("container", {})})
    return {
        "metadata": {"name": "a-1", **more.pop("metadata", {})},
        "spec": {"containers": [{"name": "web"}, {"name": "beside"}]},
        "status": {"phase": phase, "containerStatuses": statuses, **more},
    }


def waits(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, "message": message}}


def test_a_pod_that_serves() -> None:
    """It has an address, its container runs, and it is ready when the condition says so."""
    ready = [{"type": "Ready", "status": "True"}]
    state = pod_state(pod({"running": {}}, podIP="10.0.0.1", conditions=ready))
    assert (state.address, state.started, state.ready) == ("10.0.0.1", True, True)
    assert (state.waiting, state.end, state.deleted) == (None, None, False)
    starting = pod_state(pod({"running": {}}, container={"started": False}))
    assert (starting.started, starting.has_run, starting.ready) == (False, True, False)
    assert pod_state(pod({"running": {}}, metadata={"deletionTimestamp": "x"})).deleted


@pytest.mark.parametrize(
    ("found", "said", "hopeless"),
    [
        (pod(phase="Pending"), "Pending", False),
        (pod(waits("ContainerCreating")), "ContainerCreating", False),
        (pod(waits("ErrImagePull", "not\n found")), "ErrImagePull: not found", False),
        (pod(waits("ImagePullBackOff", "Back-off")), "ImagePullBackOff: Back-off", True),
        (
            pod(waits("CreateContainerConfigError", 'secret "x" not found')),
            'CreateContainerConfigError: secret "x" not found',
            True,
        ),
        (
            pod(
                waits("PodInitializing"),
                initContainerStatuses=[
                    {"name": "one", "state": {"terminated": {"exitCode": 0}}},
                    {"name": "two", "state": waits("ImagePullBackOff", "no image")},
                ],
            ),
            "ImagePullBackOff: no image",
            True,
        ),
        (
            pod(
                conditions=[
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/2 nodes are available: 2 Insufficient memory.",
                    }
                ]
            ),
            "Unschedulable: 0/2 nodes are available: 2 Insufficient memory.",
            False,
        ),
    ],
)
def test_why_a_pod_does_not_run(found: Json, said: str, *, hopeless: bool) -> None:
    """The words are the cluster's; what needs help is told from what may pass."""
    state = pod_state(found)
    assert (state.waiting, state.hopeless, state.end) == (said, hopeless, None)


def test_why_an_image_was_not_pulled_is_remembered() -> None:
    """The kubelet says the reason once, and afterwards only that it waits."""
    first = pod_state(pod(waits("ErrImagePull", "no such host")))
    later = pod_state(pod(waits("ImagePullBackOff", "Back-off pulling"))).after(first)
    assert (later.waiting, later.hopeless) == ("ErrImagePull: no such host", True)
    again = pod_state(pod(waits("ImagePullBackOff", "Back-off pulling"))).after(later)
    assert again.waiting == "ErrImagePull: no such host"
    assert pod_state(pod({"running": {}})).after(later).waiting is None


def ended(code: int, reason: str = "Error", **more: Any) -> Json:
    return {"terminated": {"exitCode": code, "reason": reason, **more}}


@pytest.mark.parametrize(
    ("found", "said", "status"),
    [
        (pod(ended(0, "Completed")), "exited with status 0", 0),
        (pod(ended(3)), "exited with status 3", 3),
        (pod(ended(137)), "was ended by signal 9", -9),
        (pod(ended(143)), "was ended by signal 15", -15),
        (
            pod(ended(137, "OOMKilled")),
            "was killed because it exceeded its memory limit (OOMKilled)",
            -9,
        ),
        (
            pod(ended(128, "StartError", message="exec: no-such-program: not found")),
            "has ended: StartError: exec: no-such-program: not found",
            128,
        ),
        (
            pod(phase="Failed", reason="Evicted", message="low on resource: memory."),
            "has ended: Evicted: low on resource: memory.",
            None,
        ),
        (
            pod(
                phase="Failed",
                initContainerStatuses=[{"name": "prepare", "state": ended(4)}],
            ),
            "has ended: its init container prepare exited with status 4",
            None,
        ),
        (pod(phase="Succeeded"), "has ended", None),
    ],
)
def test_how_a_pod_ended(found: Json, said: str, status: int | None) -> None:
    """The end of the first container is the end of the replica, also while another one runs."""
    end = pod_state(found).end
    assert end is not None
    assert (str(end), end.exit_status) == (said, status)


@pytest.mark.parametrize(("ready", "serves"), [(True, True), (False, False), (None, True)])
def test_an_endpoint_gets_requests_unless_it_is_not_ready(
    *, ready: bool | None, serves: bool
) -> None:
    """A condition that is absent means ready; endpoints that are no pods are left out."""
    conditions = {} if ready is None else {"ready": ready}
    pods = {"kind": "Pod", "name": "a-1"}
    found = {"endpoints": [{"targetRef": pods, "conditions": conditions}, {"addresses": ["x"]}]}
    assert endpoints_of(found) == {"a-1": serves}
    assert endpoints_of({"endpoints": None}) == {}
