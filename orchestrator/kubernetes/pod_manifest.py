"""PURE: the Pod that is one replica, made from the template of its version."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

SERVES = "hitless/serves"
"""The label of pods that get requests: the Service of the run selects it."""

ON = "yes"
_LONGEST_NAME = 63
_GRACE_SECONDS = 30.0


class TemplateError(ValueError):
    """A pod template lacks something; the message says what, and what would be right."""


def pod_of(
    template: Mapping[str, Any],
    *,
    name: str,
    labels: Mapping[str, str],
    env: Mapping[str, str],
) -> Json:
    """Make the Pod of one replica.

    It is started once: if its container ends, the replica has ended, and the rollout decides what
    follows. So `restartPolicy` is `Never`, whatever the template says. It does not have the label
    that lets it serve.

    Args:
        template: the pod template (`spec.template` of a Deployment): its metadata and its spec.
        name: the name of the pod.
        labels: labels in addition to the template's.
        env: environment variables of each container that does not set them itself.

    Raises:
        TemplateError: it has no container.
    """
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    containers = spec.get("containers") or ()
    if not containers:
        raise TemplateError("spec.containers is empty; expected at least one container")
    mine = {key: value for key, value in (meta.get("labels") or {}).items() if key != SERVES}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {**mine, **labels},
            "annotations": dict(meta.get("annotations") or {}),
        },
        "spec": {
            **spec,
            "restartPolicy": "Never",
            "containers": [_with_env(one, env) for one in containers],
        },
    }


def _with_env(container: Mapping[str, Any], env: Mapping[str, str]) -> Json:
    given = list(container.get("env") or ())
    known = {one.get("name") for one in given}
    added = [{"name": name, "value": value} for name, value in env.items() if name not in known]
    return {**container, "env": [*added, *given]}


def pod_name(replica_id: str) -> str:
    """The name of a replica's pod: its id in lower case, as a DNS label (RFC 1123).

    Raises:
        TemplateError: nothing of the id is left.
    """
    text = "".join(one if one.isascii() and one.isalnum() else "-" for one in replica_id.lower())
    name = text.strip("-")[-_LONGEST_NAME:].lstrip("-")
    if not name:
        raise TemplateError(f"the replica {replica_id!r} has no name that a pod could have")
    return name


def port_of(template: Mapping[str, Any]) -> int:
    """The port where a pod serves: the first one that its first container declares.

    If it declares none, it is the port of its readiness probe.

    Raises:
        TemplateError: it has neither.
    """
    container = _first(template)
    for one in container.get("ports") or ():
        port = one.get("containerPort")
        if isinstance(port, int):
            return port
    probed = (_http_probe(container) or {}).get("port")
    if isinstance(probed, int):
        return probed
    raise TemplateError(
        "the first container declares no port; expected ports: [{containerPort: …}], where its "
        "server listens"
    )


def probed_path(template: Mapping[str, Any]) -> str | None:
    """The path of the readiness probe, where that asks the serving port by plain HTTP.

    None if the first container has no such probe.
    """
    container = _first(template)
    probe = _http_probe(container)
    if probe is None or str(probe.get("scheme", "HTTP")).upper() != "HTTP":
        return None
    ports = {one.get("name"): one.get("containerPort") for one in container.get("ports") or ()}
    port = probe.get("port")
    if ports.get(port, port) != port_of(template):
        return None  # another port tells nothing of the one that serves
    path = str(probe.get("path") or "/")
    return path if path.startswith("/") else f"/{path}"


def has_readiness_probe(template: Mapping[str, Any]) -> bool:
    """Whether a container of it has a readiness probe, so that a sick pod leaves the Service."""
    containers = (template.get("spec") or {}).get("containers") or ()
    return any("readinessProbe" in one for one in containers)


def grace_seconds(template: Mapping[str, Any]) -> float:
    """How long its pods may take to stop, as far as the template says; else the cluster's 30 s."""
    return float((template.get("spec") or {}).get("terminationGracePeriodSeconds", _GRACE_SECONDS))


def selecting_served(service: Mapping[str, Any]) -> Json:
    """The Service, changed so that it selects only pods that have the label of those that serve.

    Args:
        service: a Service with a selector.
    """
    spec = service.get("spec") or {}
    return {**service, "spec": {**spec, "selector": {**(spec.get("selector") or {}), SERVES: ON}}}


def selects(service: Mapping[str, Any], template: Mapping[str, Any]) -> bool:
    """Whether a Service selects the pods of a template; one without a selector selects none."""
    selector = (service.get("spec") or {}).get("selector") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def _first(template: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = (template.get("spec") or {}).get("containers")
    first: Mapping[str, Any] = containers[0] if containers else {}
    return first


def _http_probe(container: Mapping[str, Any]) -> Mapping[str, Any] | None:
    probe = container.get("readinessProbe") or {}
    found: Mapping[str, Any] | None = probe.get("httpGet")
    return found
