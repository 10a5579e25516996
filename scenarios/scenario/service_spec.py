"""The structs of a scenario file for services: other applications that the application calls."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from orchestrator.policy import Command, Count, HttpPath, Positive
from scenarios.scenario.process_spec import Name, Program, StopSignal
from scenarios.traffic.settings import PathText


class ServiceVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a service: the settings that differ from those of the service.

    Attributes:
        command: the program and its arguments. Default: the service's.
        python: the interpreter for `{python}`. Default: the service's.
        cwd: the working directory. Default: the service's.
        env: environment variables, in addition to the service's.
    """

    command: Command | None = None
    python: Program | None = None
    cwd: PathText | None = None
    env: Mapping[str, str] = msgspec.field(default_factory=dict)


# `from` is a Python keyword, so the field has another name than its key.
class ServiceSpec(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"serving": "from"},
):
    """Another application, which the application or another service calls.

    It has versions and replicas of its own, behind a balancer of its own. Others reach that
    balancer by the placeholders `{NAME_host}` and `{NAME_port}`. A step of the release deploys it
    (`services`), alone or together with others. Its replicas have the ids `NAME-VERSION-1`,
    `NAME-VERSION-2`, … They are deployed as `[policy]` and `[balancer]` say.

    Attributes:
        name: the name of the service, such as `prices`. No version and no set of processes may have
            the same name.
        command: the program and its arguments, with the placeholders of `application.command`.
        python: the interpreter for `{python}`. Default: the interpreter that runs hitless.
        cwd: the working directory. Default: that of the application.
        env: environment variables. Those of the application are not added to them.
        health_path: the path of the balancer's health checks; a 2xx means healthy.
        readiness_path: the path of the readiness check, as in `[application]`.
        stop_signal: the signal that tells a replica to stop.
        signal_group: whether the signal goes to the whole process group of the replica.
        termination_grace_seconds: how long a replica may take to stop before it is killed.
        replicas: how many replicas of a version serve.
        strategy: how the service is deployed. Default: the strategy of the run.
        serving: the version that serves before the release; the key in the file is `from`.
        versions: the versions of the service, by name.
    """

    name: Name
    command: Command | None = None
    python: Program | None = None
    cwd: PathText | None = None
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    health_path: HttpPath = "/"
    readiness_path: HttpPath | None = None
    stop_signal: StopSignal = "SIGTERM"
    signal_group: bool = False
    termination_grace_seconds: Positive = 10.0
    replicas: Count = 2
    strategy: Literal["naive", "rolling", "blue-green", "canary"] | None = None
    serving: str
    versions: Mapping[str, ServiceVersion]
