"""Routers by name: the only place that knows all of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple, get_args

from orchestrator.processes import Processes
from orchestrator.routers import caddy, envoy, haproxy, hitless, nginx, traefik
from orchestrator.routers.capabilities import Capabilities, Kind
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.settings import RouterSettings, RunningRouter

KINDS: tuple[Kind, ...] = get_args(Kind)


class _Adapter(NamedTuple):
    check: Callable[[RouterSettings], Awaitable[str]]
    start: Callable[[Processes, RouterSettings], AbstractAsyncContextManager[RunningRouter]]
    capabilities: Capabilities


_ADAPTERS: dict[Kind, _Adapter] = {
    "hitless": _Adapter(hitless.check, hitless.start, hitless.HitlessRouter.capabilities),
    "haproxy": _Adapter(haproxy.check, haproxy.start, haproxy.HaproxyRouter.capabilities),
    "envoy": _Adapter(envoy.check, envoy.start, envoy.EnvoyRouter.capabilities),
    "nginx": _Adapter(nginx.check, nginx.start, nginx.NginxRouter.capabilities),
    "traefik": _Adapter(traefik.check, traefik.start, traefik.TraefikRouter.capabilities),
    "caddy": _Adapter(caddy.check, caddy.start, caddy.CaddyRouter.capabilities),
}


def capabilities_of(kind: Kind) -> Capabilities:
    """What a kind of router can do."""
    return _ADAPTERS[kind].capabilities


async def check_router(kind: Kind, settings: RouterSettings) -> str:
    """See, before anything is started, that a router can be used; returns its version.

    Raises:
        RouterConfigError: its program is missing, it refuses the configuration, or it cannot do
            what the settings ask of it.
    """
    _need_capable(kind, settings)
    return await _ADAPTERS[kind].check(settings)


@asynccontextmanager
async def start_router(
    kind: Kind, processes: Processes, settings: RouterSettings
) -> AsyncIterator[RunningRouter]:
    """Run a router while the block runs; its exchanges are then in the settings' access log.

    Raises:
        RouterConfigError: as for `check_router`.
        EnvironmentFailure: it does not start.
    """
    _need_capable(kind, settings)
    async with _ADAPTERS[kind].start(processes, settings) as running:
        yield running


def _need_capable(kind: Kind, settings: RouterSettings) -> None:
    can = capabilities_of(kind)
    if settings.affinity_cookie is not None and not can.sticky:
        raise RouterConfigError(
            f"balancer.affinity_cookie: router {kind} cannot keep a user on one version; "
            "leave it out, or use router hitless"
        )
    for key, changed in (
        ("retry", not settings.retry),
        ("passive_checks", not settings.passive_checks),
    ):
        if changed and kind != "hitless":
            raise RouterConfigError(
                f"balancer.{key}: router {kind} has settings of its own for that, in its "
                "configuration file (router.config); leave it out, or use router hitless"
            )
    if settings.hold_seconds and not can.holds:
        raise RouterConfigError(
            f"balancer.hold_seconds: router {kind} does not let requests wait while no backend is "
            "up; leave it out, or use router hitless"
        )
