"""PURE: how other platforms let replicas leave and come by default, each value with its source.

A persona is a `TerminationPolicy` under the name of a platform. It says what that platform does
when nothing is configured. Where a value depends on the router beside the platform, the source says
which router is meant. `docs/personas.md` is written from this data.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.termination import TerminationPolicy

PersonaName = Literal["kubernetes", "ecs", "nomad", "swarm", "compose", "systemd"]
"""The names of the personas."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value comes from.

    Attributes:
        url: the platform's own documentation or source code.
        says: what it says, in our words.
    """

    url: str
    says: str


@dataclass(frozen=True, slots=True)
class Persona:
    """A platform's default behaviour.

    Attributes:
        name: what people type, such as `kubernetes`.
        title: the platform's name in prose.
        summary: what happens when a replica leaves, in one sentence.
        termination: the settings.
        sources: for each setting of `termination`, where its value comes from.
        limits: what of the platform the settings do not cover.
    """

    name: str
    title: str
    summary: str
    termination: TerminationPolicy
    sources: Mapping[str, Source]
    limits: str


_K8S_PODS = "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-flow"
_K8S_PROXY = "https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/"
_ECS_UPDATE = (
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/update-service-console-v2.html"
)
_ECS_LIFE = (
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html"
)
_ECS_TASK = (
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html"
)
_ALB = (
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/"
    "edit-target-group-attributes.html#deregistration-delay"
)
_NOMAD_TASK = "https://developer.hashicorp.com/nomad/docs/job-specification/task"
_NOMAD_GROUP = "https://developer.hashicorp.com/nomad/docs/job-specification/group#shutdown_delay"
_NOMAD_SERVICE = "https://developer.hashicorp.com/nomad/docs/job-specification/service"
_NOMAD_CLIENT = "https://developer.hashicorp.com/nomad/docs/configuration/client#wait"
_SWARM_CODE = (
    "https://github.com/moby/moby/blob/v24.0.7/daemon/cluster/executor/container/controller.go"
)
_SWARM_CREATE = "https://docs.docker.com/reference/cli/docker/service/create/"
_SWARM_ISSUE = "https://github.com/moby/moby/issues/38841"
_COMPOSE_FILE = "https://docs.docker.com/reference/compose-file/services/#stop_grace_period"
_COMPOSE_UP = "https://docs.docker.com/reference/cli/docker/compose/up/"
_COMPOSE_HOOKS = "https://docs.docker.com/compose/how-tos/lifecycle/"
_TRAEFIK = "https://doc.traefik.io/traefik/providers/overview/#providersprovidersthrottleduration"
_SYSTEMD_SERVICE = "https://www.freedesktop.org/software/systemd/man/latest/systemd.service.html"
_SYSTEMD_KILL = "https://www.freedesktop.org/software/systemd/man/latest/systemd.kill.html"
_NGINX = "https://nginx.org/en/docs/http/ngx_http_upstream_module.html#server"

_KUBERNETES = Persona(
    name="kubernetes",
    title="Kubernetes",
    summary=(
        "The kubelet stops the Pod while the news of its removal is on its way to the proxies."
    ),
    termination=TerminationPolicy(
        order="together",
        deregistration_lag_seconds=(0.0, 1.0),
        registration_lag_seconds=(0.0, 1.0),
        pre_stop_seconds=0.0,
        grace_seconds=30.0,
        grace_includes_pre_stop=True,
        registration="when-ready",
        close_idle=False,
    ),
    sources={
        "order": Source(
            _K8S_PODS,
            "the kubelet begins the shutdown and the control plane removes the Pod from its "
            "EndpointSlices at the same time; neither waits for the other",
        ),
        "deregistration_lag_seconds": Source(
            _K8S_PROXY,
            "--iptables-min-sync-period is 1s: kube-proxy rewrites its rules at most once a second",
        ),
        "registration_lag_seconds": Source(_K8S_PROXY, "the same setting delays new endpoints"),
        "pre_stop_seconds": Source(
            _K8S_PODS, "without a preStop hook the stop signal is sent at once"
        ),
        "grace_seconds": Source(_K8S_PODS, "terminationGracePeriodSeconds is 30 s by default"),
        "grace_includes_pre_stop": Source(
            _K8S_PODS,
            "the grace period covers the preStop hook as well; a hook that outlasts it extends the "
            "period once, by 2 s",
        ),
        "registration": Source(
            _K8S_PODS,
            "a Pod whose readiness probe fails is not ready, and its endpoints get no traffic",
        ),
        "close_idle": Source(
            "https://kubernetes.io/docs/tutorials/services/pods-and-endpoint-termination-flow/",
            "an endpoint of a terminating Pod is not ready, which keeps new connections away; "
            "established connections stay, and the application has to close them",
        ),
    },
    limits=(
        "An ingress controller or a cloud load balancer has a lag of its own on top; add it to "
        "deregistration_lag_seconds."
    ),
)

_ECS = Persona(
    name="ecs",
    title="Amazon ECS behind an Application Load Balancer",
    summary=(
        "A service update removes the task from the load balancer, waits for its connections to "
        "drain, and only then stops it."
    ),
    termination=TerminationPolicy(
        order="drain-first",
        deregistration_lag_seconds=0.0,
        registration_lag_seconds=0.0,
        pre_stop_seconds=0.0,
        grace_seconds=30.0,
        grace_includes_pre_stop=False,
        registration="when-started",
        close_idle=True,
    ),
    sources={
        "order": Source(
            _ECS_UPDATE,
            "an update removes a task from the load balancer, waits for its connections to drain, "
            "and then sends the stop signal",
        ),
        "deregistration_lag_seconds": Source(
            _ALB, "a target that is being deregistered gets no new requests from then on"
        ),
        "registration_lag_seconds": Source(
            _ECS_LIFE, "the task is registered in ACTIVATING, before it is RUNNING"
        ),
        "pre_stop_seconds": Source(
            _ECS_LIFE, "STOPPING begins with the stop signal; there is no hook before it"
        ),
        "grace_seconds": Source(_ECS_TASK, "stopTimeout is 30 s by default"),
        "grace_includes_pre_stop": Source(_ECS_LIFE, "stopTimeout begins with the stop signal"),
        "registration": Source(
            _ECS_LIFE,
            "a task is registered with its target group when its containers run; the load "
            "balancer's health checks then decide",
        ),
        "close_idle": Source(
            _ALB,
            "a target that is being deregistered gets no new requests, on idle connections neither",
        ),
    },
    limits=(
        "stop-task, Fargate Spot interruptions and services that are found through Cloud Map do "
        'not drain first: use order = "together" for them '
        "(https://github.com/aws/containers-roadmap/issues/576). The deregistration delay of the "
        "load balancer, 300 s by default, is policy.drain_timeout_seconds here."
    ),
)

_NOMAD = Persona(
    name="nomad",
    title="Nomad with a load balancer that is configured by a template",
    summary=(
        "Nomad deregisters the service and signals the task at once; the load balancer's template "
        "is rendered seconds later."
    ),
    termination=TerminationPolicy(
        order="together",
        deregistration_lag_seconds=5.0,
        registration_lag_seconds=5.0,
        pre_stop_seconds=0.0,
        grace_seconds=5.0,
        grace_includes_pre_stop=False,
        registration="when-started",
        close_idle=True,
    ),
    sources={
        "order": Source(
            _NOMAD_GROUP,
            "services are deregistered first; after shutdown_delay the tasks are stopped, and "
            "nobody waits for the load balancer",
        ),
        "deregistration_lag_seconds": Source(
            _NOMAD_CLIENT,
            "wait.min is 5s: a template that lists the backends is rendered again only when they "
            "have not changed for that long",
        ),
        "registration_lag_seconds": Source(_NOMAD_CLIENT, "the same setting delays new backends"),
        "pre_stop_seconds": Source(_NOMAD_GROUP, "shutdown_delay is 0s by default"),
        "grace_seconds": Source(_NOMAD_TASK, "kill_timeout is 5s by default"),
        "grace_includes_pre_stop": Source(
            _NOMAD_TASK, "kill_timeout begins with the kill signal, after shutdown_delay"
        ),
        "registration": Source(
            _NOMAD_SERVICE,
            "a service is registered when its task has started; its checks decide afterwards",
        ),
        "close_idle": Source(
            _NOMAD_CLIENT,
            "the rendered load balancer is reloaded, and its new configuration does not use the "
            "connections of backends that it no longer has",
        ),
    },
    limits=(
        "Nomad's default kill_signal is SIGINT, except for Docker tasks: set stop_signal of the "
        "version. Load balancers that watch Consul have a shorter lag."
    ),
)

_SWARM = Persona(
    name="swarm",
    title="Docker Swarm's own load balancing",
    summary=(
        "Swarm removes the task from the virtual IP, waits 2 s for the other nodes to hear of it, "
        "and then stops it."
    ),
    termination=TerminationPolicy(
        order="together",
        deregistration_lag_seconds=0.0,
        registration_lag_seconds=0.0,
        pre_stop_seconds=2.0,
        grace_seconds=10.0,
        grace_includes_pre_stop=False,
        registration="when-ready",
        close_idle=False,
    ),
    sources={
        "order": Source(
            _SWARM_CODE,
            "Shutdown deactivates the service binding and then stops the container without waiting "
            "for its connections",
        ),
        "deregistration_lag_seconds": Source(
            _SWARM_CODE,
            "the binding is deactivated on the task's own node at once; other nodes hear of it by "
            "gossip, within the 2 s that Shutdown waits",
        ),
        "registration_lag_seconds": Source(
            _SWARM_CODE, "the binding is activated when the container is started or healthy"
        ),
        "pre_stop_seconds": Source(_SWARM_CODE, "defaultGossipConvergeDelay is 2 s"),
        "grace_seconds": Source(_SWARM_CREATE, "--stop-grace-period is 10 s by default"),
        "grace_includes_pre_stop": Source(
            _SWARM_CODE, "the grace period is that of the stop, after the delay"
        ),
        "registration": Source(
            _SWARM_CODE,
            "a container with a health check gets traffic when it is healthy; one without, at once",
        ),
        "close_idle": Source(
            _SWARM_ISSUE,
            "established connections go on reaching the task that is being shut down",
        ),
    },
    limits=(
        "A proxy such as Traefik in front of the tasks has its own lag. A service without a health "
        'check gets traffic at once: use registration = "when-started".'
    ),
)

_COMPOSE = Persona(
    name="compose",
    title="Docker Compose behind Traefik",
    summary=(
        "Compose stops a container before it starts the new one; the proxy hears of the end from "
        "Docker's events."
    ),
    termination=TerminationPolicy(
        order="stop-first",
        deregistration_lag_seconds=(0.0, 2.0),
        registration_lag_seconds=(0.0, 2.0),
        pre_stop_seconds=0.0,
        grace_seconds=10.0,
        grace_includes_pre_stop=False,
        registration="when-started",
        close_idle=True,
    ),
    sources={
        "order": Source(
            _COMPOSE_UP, "a container whose configuration has changed is stopped and recreated"
        ),
        "deregistration_lag_seconds": Source(
            _TRAEFIK,
            "providersThrottleDuration is 2s: after one change Traefik waits that long before it "
            "takes the next",
        ),
        "registration_lag_seconds": Source(_TRAEFIK, "the same setting delays new containers"),
        "pre_stop_seconds": Source(
            _COMPOSE_HOOKS, "there is no pre_stop hook unless the file has one"
        ),
        "grace_seconds": Source(_COMPOSE_FILE, "stop_grace_period is 10 seconds by default"),
        "grace_includes_pre_stop": Source(
            _COMPOSE_HOOKS, "a pre_stop hook runs before the container is stopped"
        ),
        "registration": Source(
            _COMPOSE_UP, "without --wait, a container counts as up when it is started"
        ),
        "close_idle": Source(
            _TRAEFIK, "the new configuration no longer has the server, nor its connections"
        ),
    },
    limits=(
        "With one container for each service this is the strategy naive: nothing serves between "
        "the old container and the new one."
    ),
)

_SYSTEMD = Persona(
    name="systemd",
    title="systemd units behind a proxy with a fixed list of servers",
    summary="systemd stops the unit; nobody tells the proxy, whose own checks must notice it.",
    termination=TerminationPolicy(
        order="checks-only",
        deregistration_lag_seconds=0.0,
        registration_lag_seconds=0.0,
        pre_stop_seconds=0.0,
        grace_seconds=90.0,
        grace_includes_pre_stop=False,
        registration="when-started",
        close_idle=True,
    ),
    sources={
        "order": Source(_NGINX, "the servers of an upstream are a fixed list in a file"),
        "deregistration_lag_seconds": Source(_NGINX, "nobody changes the list during a restart"),
        "registration_lag_seconds": Source(_NGINX, "nobody changes the list during a restart"),
        "pre_stop_seconds": Source(
            _SYSTEMD_SERVICE, "without ExecStop= the unit gets its kill signal at once"
        ),
        "grace_seconds": Source(
            _SYSTEMD_SERVICE, "TimeoutStopSec= is DefaultTimeoutStopSec=, which is 90 s"
        ),
        "grace_includes_pre_stop": Source(
            _SYSTEMD_SERVICE, "TimeoutStopSec= applies to each ExecStop= command and to the stop"
        ),
        "registration": Source(
            _SYSTEMD_SERVICE, "a unit with Type=simple is started as soon as its process is forked"
        ),
        "close_idle": Source(_NGINX, "nobody tells the proxy, so it closes nothing"),
    },
    limits=(
        "systemd signals all processes of a unit (KillMode=control-group, "
        f"{_SYSTEMD_KILL}): set signal_group of the version."
    ),
)

PERSONAS: Mapping[str, Persona] = {
    one.name: one for one in (_KUBERNETES, _ECS, _NOMAD, _SWARM, _COMPOSE, _SYSTEMD)
}
"""The personas by the names that people type."""
