"""PURE: which part of a cluster is meant: `[CONTEXT/]NAMESPACE[:deployment/NAME]`."""

import re
from dataclasses import dataclass

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
FORM = "[CONTEXT/]NAMESPACE[:deployment/NAME], such as kind-dev/shop:deployment/web"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTarget:
    """Which part of which cluster.

    Attributes:
        context: the context of the kubeconfig; None: the current one.
        namespace: the namespace.
        deployment: the Deployment that serves; None: every one of the namespace.
    """

    context: str | None
    namespace: str
    deployment: str | None

    def __str__(self) -> str:
        named = "" if self.deployment is None else f":deployment/{self.deployment}"
        return f"{'' if self.context is None else f'{self.context}/'}{self.namespace}{named}"


def is_dns_label(text: str) -> bool:
    """Whether a namespace can have this name (RFC 1123, section 2.1)."""
    return _DNS_LABEL.fullmatch(text) is not None


def target_of(text: str) -> ClusterTarget:
    """Read it. A context may have slashes and colons, as an ARN has; a namespace has neither.

    Raises:
        ValueError: it has another form; the message says what would be right.
    """
    rest, separator, deployment = text.rpartition(":deployment/")
    if not separator:
        rest, deployment = text, ""
    context, _, namespace = rest.rpartition("/")
    if separator and not _NAME.fullmatch(deployment):
        raise ValueError(f"{deployment!r} is no name of a Deployment; expected {FORM}")
    if not is_dns_label(namespace):
        raise ValueError(f"{namespace!r} is no name of a namespace; expected {FORM}")
    return ClusterTarget(
        context=context or None, namespace=namespace, deployment=deployment or None
    )
