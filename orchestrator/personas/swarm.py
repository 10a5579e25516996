"""PURE: Docker Swarm's own load balancing."""

from orchestrator.personas.persona import Persona, RequestHandling, Source
from orchestrator.termination import TerminationPolicy

_SWARM_IPVS = "https://github.com/moby/moby/blob/v24.0.7/libnetwork/service_linux.go"
_SWARM_CODE = (
    "https://github.com/moby/moby/blob/v24.0.7/daemon/cluster/executor/container/controller.go"
)
_SWARM_CREATE = "https://docs.docker.com/reference/cli/docker/service/create/"
_SWARM_ISSUE = "https://github.com/moby/moby/issues/38841"

SWARM = Persona(
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
    handling=RequestHandling(
        retry=False,
        passive_checks=False,
        active_checks=False,
        reuse_post=False,
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
        "retry": Source(
            _SWARM_IPVS,
            "the virtual IP is an IPVS service of the kernel, which chooses a task for each "
            "connection and tries no other",
        ),
        "passive_checks": Source(
            _SWARM_IPVS, "IPVS forwards packets; it does not see how a request ends"
        ),
        "active_checks": Source(
            _SWARM_IPVS, "tasks are added and removed by Swarm alone; IPVS checks none"
        ),
        "reuse_post": Source(
            _SWARM_IPVS,
            "IPVS chooses a task for each new connection, and has no connections of its own "
            "that it could keep; how clients use theirs is up to them",
        ),
    },
    limits=(
        "A proxy such as Traefik in front of the tasks has its own lag. A service without a health "
        'check gets traffic at once: use registration = "when-started".'
    ),
)
