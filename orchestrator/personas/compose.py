"""PURE: Docker Compose behind Traefik."""

from orchestrator.personas.persona import Persona, RequestHandling, Source
from orchestrator.termination import TerminationPolicy

_TRAEFIK_RETRY = "https://doc.traefik.io/traefik/middlewares/http/retry/"
_TRAEFIK_CHECKS = "https://doc.traefik.io/traefik/routing/services/#health-check"
_TRAEFIK_TRANSPORT = (
    "https://doc.traefik.io/traefik/routing/services/#forwardingtimeoutsidleconntimeout"
)
_COMPOSE_FILE = "https://docs.docker.com/reference/compose-file/services/#stop_grace_period"
_COMPOSE_UP = "https://docs.docker.com/reference/cli/docker/compose/up/"
_COMPOSE_HOOKS = "https://docs.docker.com/compose/how-tos/lifecycle/"
_TRAEFIK = "https://doc.traefik.io/traefik/providers/overview/#providersprovidersthrottleduration"

COMPOSE = Persona(
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
    handling=RequestHandling(
        retry=False,
        passive_checks=False,
        active_checks=False,
        reuse_post=True,
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
        "retry": Source(_TRAEFIK_RETRY, "Retry is a middleware that must be configured"),
        "passive_checks": Source(
            _TRAEFIK_CHECKS, "checks of a server, active or passive, must be configured"
        ),
        "active_checks": Source(
            _TRAEFIK_CHECKS, "checks of a server, active or passive, must be configured"
        ),
        "reuse_post": Source(
            _TRAEFIK_TRANSPORT,
            "idle connections to servers are kept for 90 s and used for any request",
        ),
    },
    limits=(
        "With one container for each service this is the strategy naive: nothing serves between "
        "the old container and the new one."
    ),
)
