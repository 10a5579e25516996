"""Routers by name: the only place that knows all of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple, get_args

from orchestrator.processes import Processes
from orchestrator.routers import binaries, caddy, envoy, haproxy, hitless, nginx, traefik
from orchestrator.routers.binaries import Program
from orchestrator.routers.capabilities import EVERYTHING, Capabilities, Kind
from orchestrator.routers.launch import Installed, installed
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.settings import RouterSettings, RunningRouter

KINDS: tuple[Kind, ...] = get_args(Kind)


class _Adapter(NamedTuple):
    """How a router of other people is checked, started and what it can do."""

    program: Program
    check: Callable[[Installed, RouterSettings], Awaitable[None]]
    start: Callable[
        [Processes, RouterSettings, Installed], AbstractAsyncContextManager[RunningRouter]
    ]
    capabilities: Capabilities


_ADAPTERS: dict[Kind, _Adapter] = {
    "haproxy": _Adapter(
        binaries.HAPROXY, haproxy.check, haproxy.start, haproxy.HaproxyRouter.capabilities
    ),
    "envoy": _Adapter(binaries.ENVOY, envoy.check, envoy.start, envoy.EnvoyRouter.capabilities),
    "nginx": _Adapter(binaries.NGINX, nginx.check, nginx.start, nginx.NginxRouter.capabilities),
    "traefik": _Adapter(
        binaries.TRAEFIK, traefik.check, traefik.start, traefik.TraefikRouter.capabilities
    ),
    "caddy": _Adapter(binaries.CADDY, caddy.check, caddy.start, caddy.CaddyRouter.capabilities),
}


def capabilities_of(kind: Kind) -> Capabilities:
    """What a kind of router can do."""
    return EVERYTHING if kind == "hitless" else _ADAPTERS[kind].capabilities


async def check_router(kind: Kind, settings: RouterSettings) -> str:
    """See, before anything is started, that a router can be used; returns its version.

    Raises:
        RouterConfigError: its program is missing, it refuses the configuration, or it cannot do
            what the settings ask of it.
    """
    _need_capable(kind, settings)
    if kind == "hitless":
        return await hitless.check(settings)
    adapter = _ADAPTERS[kind]
    program = await installed(adapter.program, settings)
    await adapter.check(program, settings)
    return program.version


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
    if kind == "hitless":
        started: AbstractAsyncContextManager[RunningRouter] = hitless.start(processes, settings)
    else:
        adapter = _ADAPTERS[kind]
        program = await installed(adapter.program, settings)
        started = adapter.start(processes, settings, program)
    async with started as running:
        yield running


def _need_capable(kind: Kind, settings: RouterSettings) -> None:
    if (why := why_incapable(kind, settings)) is not None:
        raise RouterConfigError(why)


def why_incapable(kind: Kind, settings: RouterSettings) -> str | None:
    """PURE: what the settings ask of a router that it cannot do; None when it can do all."""
    can = capabilities_of(kind)
    if settings.affinity_cookie is not None and not can.sticky:
        return (
            f"balancer.affinity_cookie: router {kind} cannot keep a user on one version; "
            "leave it out, or use router hitless"
        )
    for key, changed in (
        ("retry", not settings.retry),
        ("passive_checks", not settings.passive_checks),
        ("active_checks", not settings.active_checks),
        ("reuse_post", settings.reuse_post),
    ):
        if changed and kind != "hitless":
            return (
                f"balancer.{key}: router {kind} has settings of its own for that, in its "
                "configuration file (router.config); leave it out, or use router hitless"
            )
    if settings.hold_seconds and not can.holds:
        return (
            f"balancer.hold_seconds: router {kind} does not let requests wait while no backend is "
            "up; leave it out, or use router hitless"
        )
    return None
