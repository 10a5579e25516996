"""PURE: which Service of a namespace a URL leads to, and whether it selects the right pods."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Json = Mapping[str, Any]


class Reached(NamedTuple):
    """A Service that has the address of a URL.

    Attributes:
        name: its name.
        selector: the labels that it selects.
    """

    name: str
    selector: Mapping[str, str]


def reached(services: Iterable[Json], namespace: str, host: str, port: int) -> Reached | None:
    """The Service that a URL leads to; None if no Service has its address, as with an Ingress.

    Args:
        services: the Services of the namespace.
        namespace: the namespace.
        host: the host of the URL.
        port: the port of the URL.
    """
    for service in services:
        meta, spec = service["metadata"], service.get("spec", {})
        ports = spec.get("ports") or ()
        own = any(one.get("port") == port for one in ports) and host in _hosts(service, namespace)
        if own or any(one.get("nodePort") == port for one in ports):
            return Reached(str(meta["name"]), dict(spec.get("selector") or {}))
    return None


def mismatch(found: Reached, deployment: str, labels: Mapping[str, str]) -> str | None:
    """Why the Service does not lead to the pods of a Deployment; None if it does.

    Args:
        found: the Service.
        deployment: the name of the Deployment.
        labels: the labels of its pods' template.
    """
    wanted = found.selector
    if wanted and all(labels.get(key) == value for key, value in wanted.items()):
        return None
    selects = ",".join(f"{key}={value}" for key, value in sorted(wanted.items())) or "nothing"
    has = ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "no labels"
    return (
        f"service/{found.name} has this address and selects {selects}, but the pods of "
        f"deployment/{deployment} have {has}"
    )


def _hosts(service: Json, namespace: str) -> set[str]:
    name, spec = service["metadata"]["name"], service.get("spec", {})
    balanced = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    local = (f"{name}.{namespace}", f"{name}.{namespace}.svc")
    return {
        *local,
        f"{local[1]}.cluster.local",
        *(spec.get("clusterIPs") or ()),
        spec.get("clusterIP", ""),
        *(spec.get("externalIPs") or ()),
        *(one.get("ip", "") for one in balanced),
        *(one.get("hostname", "") for one in balanced),
    } - {"", "None"}
