"""Whether a cluster is one of this machine: any other one must be named before it is changed."""

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from orchestrator.kubernetes.client import Cluster
from orchestrator.kubernetes.errors import ClusterNameError

_LOCAL_NAMES = re.compile(r"(?:kind|k3d)-.+|minikube|docker-desktop")
"""What tools that start a cluster on this machine call its context."""


def is_local(context: str, server: str) -> bool:
    """Whether a cluster runs on this machine, as far as its name and its address tell.

    Args:
        context: the name of the context.
        server: the URL of its API server.
    """
    if _LOCAL_NAMES.fullmatch(context):
        return True
    host = urlsplit(server).hostname or ""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or (address.is_private and _is_of_this_machine(host))


def ensure_meant(cluster: Cluster, named: str | None, *, by: str) -> None:
    """Refuse a cluster that is not of this machine, unless somebody named its context.

    Args:
        cluster: the cluster.
        named: the context that was named; None: the kubeconfig chose.
        by: how somebody names it, such as `--context NAME`.

    Raises:
        ClusterNameError: it is such a cluster.
    """
    if named is None and not is_local(cluster.context, cluster.server):
        raise ClusterNameError(
            f"the current context {cluster.context!r} of the kubeconfig is no cluster of this "
            f"machine ({cluster.server}), so it must be named: {by}"
        )


def _is_of_this_machine(address: str) -> bool:
    """Whether an interface of this machine has the address: only then can a socket be bound."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
