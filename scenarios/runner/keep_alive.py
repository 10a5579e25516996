"""The keep-alive race: whether servers close idle connections that the router would still use.

A server that closes first can close a connection at the moment when the router sends a request on
it. That request is lost. So a run compares the two times and warns once, with both numbers. How
long the router keeps an idle connection is known. How long the server does is known from its probe
(`probe = true`), or is found out here on one connection of ours, while the run goes on.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from orchestrator.journal import Journal
from orchestrator.model import Replica
from orchestrator.routers.registry import capabilities_of
from scenarios.probe.answer_reader import AnswerReader
from scenarios.probe.profile import KeepAlive, Profile
from scenarios.scenario.spec import Scenario

_BYTES = 64 * 1024
_HOW_TO_SHORTEN = {
    "hitless": "balancer.idle_timeout_seconds",
    "haproxy": "pool-purge-delay",
    "envoy": "idle_timeout of the cluster's common_http_protocol_options",
    "nginx": "keepalive_timeout of the upstream",
    "traefik": "forwardingTimeouts.idleConnTimeout",
    "caddy": "keepalive of the reverse_proxy's transport",
}
"""By router, the setting that says how long it keeps an idle connection to a server."""


class RouterIdle(NamedTuple):
    """How a router treats idle connections to servers.

    Attributes:
        kind: which router it is.
        seconds: for how long it may send a request on an idle connection.
    """

    kind: str
    seconds: float


def router_idle(scenario: Scenario) -> RouterIdle | None:
    """How the router of a scenario treats idle connections; None where it cannot lose a request.

    Our own balancer loses none by default: it sends a GET again, and sends a POST only on a
    connection that the server is known to keep. Of a configuration of the user's own nobody knows.
    """
    kind, balancer = scenario.router.kind, scenario.balancer
    if kind == "hitless":
        if balancer.retry and not balancer.reuse_post:
            return None
        return RouterIdle(kind, balancer.idle_timeout_seconds)
    if scenario.router.config is not None:
        return None
    return RouterIdle(kind, capabilities_of(kind).backend_idle_seconds)


def warning(version: str, server_seconds: float | None, router: RouterIdle) -> str | None:
    """What to say of the two times; None where the router closes first, or one is unknown."""
    if server_seconds is None or server_seconds > router.seconds:
        return None
    return (
        f"version {version} closes idle connections after {server_seconds:.3g} s, and router "
        f"{router.kind} uses them for up to {router.seconds:g} s: a request that meets the closing "
        f"is lost. Set the server's keep-alive timeout to more than {router.seconds:g} s, or "
        f"{_HOW_TO_SHORTEN[router.kind]} to less than {server_seconds:.3g} s"
    )


def seconds_of(kept: KeepAlive | None) -> float | None:
    """How long a probed server keeps an idle connection; None: for good, not at all, or unknown."""
    if kept is None or kept.fate == "none":
        return None
    if kept.announced is not None:
        return kept.announced
    return kept.seconds if kept.fate == "closed" else None


async def check_keep_alive(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    serving: Callable[[], Sequence[Replica]],
    journal: Journal,
) -> None:
    """Note each version that is known to close connections which the router would still use.

    What was probed is known at once. The version that serves is else watched while the run goes on.

    Args:
        scenario: says which router, and what a replica can be asked for.
        profiles: what the probes found, by version.
        serving: says who serves now.
        journal: gets the warnings.
    """
    router, now = router_idle(scenario), serving()
    if router is None:
        return
    for name, profile in profiles.items():
        _note(journal, warning(name, seconds_of(profile.keep_alive), router), name)
    if not now or now[-1].version in profiles:
        return
    replica = now[-1]  # the one that will serve for the longest time
    seconds = await idle_seconds(
        replica.host, replica.port, scenario.application.health_path, router.seconds
    )
    if replica in serving():  # one that leaves closes its idle connections early
        _note(journal, warning(replica.version, seconds, router), replica.version, replica.id)


def _note(journal: Journal, said: str | None, version: str, *replicas: str) -> None:
    if said is not None:
        journal.note("keep_alive", version=version, replicas=replicas, error=said)


async def idle_seconds(host: str, port: int, path: str, limit: float) -> float | None:
    """How long a server keeps an idle connection, in seconds, as it announces it or as it does.

    Args:
        host: the host that it listens on.
        port: the port that it listens on.
        path: what it is asked for.
        limit: how long to wait for it to close the connection.

    Returns:
        None: for longer than the limit, or it closes each connection after its response, or it
        cannot be told.
    """
    loop = asyncio.get_running_loop()
    answer = AnswerReader()
    try:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("ascii"))
            while not answer.complete:
                data = await reader.read(_BYTES)
                if not data:
                    return None
                answer.feed(data)
            idle_since = loop.time()
            announced = _announced(answer.answers[-1].headers.get("keep-alive", ""))
            if announced is not None:
                return announced
            if answer.answers[-1].connection == "close":
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await reader.read(_BYTES)
                    return loop.time() - idle_since
        finally:
            writer.transport.abort()
    except OSError:
        pass  # the replica is gone, which the run itself notices
    return None


def _announced(field: str) -> float | None:
    """The `timeout` of a Keep-Alive field (RFC 2068, section 19.7.1.1), in seconds."""
    for part in field.split(","):
        name, _, value = part.partition("=")
        if name.strip().lower() == "timeout" and value.strip().isdecimal():
            return float(value)
    return None
