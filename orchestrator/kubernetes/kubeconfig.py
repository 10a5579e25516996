"""The kubeconfig: where a cluster is, and who one is there.

The library lightkube (the extra `hitless[kubernetes]`) reads it; it is imported when it is used.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.kubernetes.errors import ClusterNameError

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import KubeConfig, SingleConfig

_UNREADABLE = (OSError, AttributeError, KeyError, TypeError, ValueError, msgspec.MsgspecError)
"""What a file that is no kubeconfig leads to."""

_V1 = "client.authentication.k8s.io/v1"
_V1BETA1 = "client.authentication.k8s.io/v1beta1"


def config_of(context: str | None) -> "SingleConfig":
    """The configuration of a context.

    Args:
        context: the context; None: the current one.

    Raises:
        ClusterNameError: there is no kubeconfig, or not this context.
    """
    import yaml  # noqa: PLC0415 - a part of the extra
    from lightkube.config.kubeconfig import KubeConfig  # noqa: PLC0415 - likewise
    from lightkube.config.models import User  # noqa: PLC0415 - likewise
    from lightkube.core.exceptions import ConfigError  # noqa: PLC0415 - likewise

    try:
        every = _first_with(context, KubeConfig)
    except ConfigError as error:
        raise ClusterNameError(
            f"there is no kubeconfig ({one_line(error)}); KUBECONFIG names its file"
        ) from error
    except (*_UNREADABLE, yaml.YAMLError) as error:
        raise ClusterNameError(f"the kubeconfig cannot be read: {one_line(error)}") from error
    known = ", ".join(sorted(every.contexts))
    if context is not None and context not in every.contexts:
        raise ClusterNameError(f"the kubeconfig has no context {context!r}; it has: {known}")
    try:
        config = every.get(context)
    except ConfigError as error:
        raise ClusterNameError(f"the kubeconfig: {one_line(error)}") from error
    if config is None:
        raise ClusterNameError(f"the kubeconfig has no current context; it has: {known}")
    if config.user is None:
        return config._replace(user=User())  # as a proxy of kubectl wants none
    if config.user.exec is not None and config.user.exec.apiVersion == _V1:
        _speak_v1beta1(config.user.exec)
    return config


def _first_with(context: str | None, kind: "type[KubeConfig]") -> "KubeConfig":
    """The kubeconfig; where KUBECONFIG names several files, the first one with the context."""
    files = [one for one in os.environ.get("KUBECONFIG", "").split(os.pathsep) if one]
    if len(files) <= 1:
        return kind.from_env()
    every = [kind.from_file(one) for one in files if Path(one).is_file()]
    fitting = (
        one
        for one in every
        if (one.current_context if context is None else context in one.contexts)
    )
    return next(fitting, every[0] if every else kind.from_file(files[0]))


def _speak_v1beta1(plugin: Any) -> None:  # noqa: ANN401 - a class of the library, lazily imported
    """Let the library ask a credential plugin of version v1, which it does not know.

    A token is told in the same way in both versions; what the plugin is asked for comes in its
    environment: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
    """
    from lightkube.config.models import NameValue  # noqa: PLC0415 - only with the extra

    asked = {"apiVersion": _V1, "kind": "ExecCredential", "spec": {"interactive": False}}
    told = NameValue(name="KUBERNETES_EXEC_INFO", value=json.dumps(asked))
    plugin.env = [*(plugin.env or []), told]
    plugin.apiVersion = _V1BETA1


def one_line(error: BaseException) -> str:
    """What an error says, on one line; its name if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
