"""Our own balancer as the router: `python -m balancer`, told what to do by its admin API."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any, Literal

import msgspec

from balancer.client import AdminClient, AdminError
from orchestrator.errors import EnvironmentFailure, ProcessError, RouterError
from orchestrator.interfaces import Drained
from orchestrator.model import Replica
from orchestrator.processes import ChildProcess, Processes
from orchestrator.request_statistics import Latency, RequestCounts
from orchestrator.routers.capabilities import EVERYTHING, Capabilities
from orchestrator.routers.marked import RouterConfigError
from orchestrator.routers.settings import BackendState, HealthCheck, RouterSettings

__all__ = ["Balancer", "HealthCheck", "HitlessRouter", "start_balancer"]

_START_SECONDS = 20.0
_GRACE_SECONDS = 10.0


class HitlessRouter:
    """The Router over the balancer's admin API; replica ids are the backends'."""

    capabilities: Capabilities

    def __init__(self, client: AdminClient, health: HealthCheck, *, notices: bool = True) -> None:
        """Describe the router.

        Args:
            client: the admin API, opened by the caller.
            health: what the balancer was told.
            notices: whether it notices by itself that a replica is gone.
        """
        self._client = client
        self.capabilities = msgspec.structs.replace(EVERYTHING, own_health=notices)
        self._health = health

    @property
    def admission_seconds(self) -> float:
        """The least time from a healthy replica's registration until it is up.

        The first check is made at once, each further one a fast interval later.
        """
        return (self._health.rise - 1) * self._health.fast_interval

    async def register(self, replica: Replica) -> None:
        """Begin to check the replica; it gets no traffic yet."""
        with _translated(f"register {replica.id}"):
            await self._client.put_backend(
                replica.id, address=replica.address, version=replica.version, weight=0.0
            )

    async def wait_up(self, ids: Collection[str]) -> None:
        """Wait until the balancer's own checks say that all of them are up."""
        with _translated("wait until all are up"):
            await self._client.wait_up(ids)

    async def why_not_up(self, ids: Collection[str]) -> Mapping[str, str]:
        """Return those of them that are not up, each with the balancer's last word on it."""
        if not ids:
            return {}
        with _translated("list backends"):
            known = {backend.id: backend for backend in await self._client.backends()}
        why = {}
        for name in ids:
            backend = known.get(name)
            if backend is None:
                why[name] = "the balancer does not know it"
            elif backend.state != "up":
                checked = f", last check: {backend.last_check}" if backend.last_check else ""
                why[name] = f"the balancer says {backend.state}{checked}"
        return why

    async def weigh(self, weights: Mapping[str, float]) -> None:
        """Give these replicas these weights in one assignment; the others keep theirs."""
        with _translated("set weights"):
            await self._client.set_weights(weights)

    async def switch(self, ids: Collection[str]) -> None:
        """Give weight 1 to these replicas and 0 to all others in one assignment."""
        with _translated("switch"):
            await self._client.set_active(ids)

    async def drain(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - the balancer's
        """Send the replica nothing new, and wait until what it has in flight has ended."""
        return await self._drain(replica_id, timeout, close_idle=True)

    async def drain_keeping_idle(self, replica_id: str, timeout: float) -> Drained:  # noqa: ASYNC109 - the balancer's
        """Open no new connection to the replica, but go on sending requests on idle ones.

        Returns when the last connection has closed, or after the timeout, which closes the idle
        ones and cuts what is in flight.
        """
        return await self._drain(replica_id, timeout, close_idle=False)

    async def _drain(self, replica_id: str, seconds: float, *, close_idle: bool) -> Drained:
        with _translated(f"drain {replica_id}"):
            try:
                drained = await self._client.drain(
                    replica_id, timeout=seconds, close_idle=close_idle
                )
            except AdminError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                return Drained(0, 0.0)
        # For whoever waits, an upgraded connection that was ended is as lost as a request.
        return Drained(drained.cut + drained.cut_tunnels, drained.seconds)

    async def remove(self, replica_id: str) -> None:
        """Forget the replica; fine if it is unknown."""
        with _translated(f"remove {replica_id}"):
            try:
                await self._client.delete(replica_id)
            except AdminError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise

    async def counts(self) -> Mapping[str, RequestCounts]:
        """Return the cumulative counts of each replica that the balancer knows."""
        with _translated("read statistics"):
            statistics = await self._client.statistics()
        return {name: _count(one) for name, one in statistics["backends"].items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancer:
    """A balancer that runs.

    Attributes:
        address: where clients connect, as `host:port`.
        admin: where its admin API is, as `unix:/path`.
        router: what a rollout needs of it.
        process: it.
        client: its admin API, for those who look on.
        version: what it calls itself.
        kind: which router it is.
    """

    address: str
    admin: str
    router: HitlessRouter
    process: ChildProcess
    client: AdminClient
    version: str
    kind: Literal["hitless"] = "hitless"

    async def backends(self) -> Sequence[BackendState]:
        """What it makes of its backends now."""
        with _translated("list backends"):
            known = await self.client.backends()
        return [
            BackendState(
                id=one.id,
                version=one.version,
                state=one.state,
                weight=one.weight,
                in_flight=one.in_flight,
            )
            for one in known
        ]


class _Listening(msgspec.Struct, frozen=True):
    """The first line that the balancer prints."""

    listen: str
    admin: str


@asynccontextmanager
async def start_balancer(
    processes: Processes,
    *,
    directory: Path,
    log: Path,
    health: HealthCheck,
    access_log: Path | None = None,
    listen: str = "127.0.0.1:0",
    hold_seconds: float = 0.0,
    affinity_cookie: str | None = None,
    reuse_post: bool = False,
    retry: bool = True,
    passive_checks: bool = True,
    active_checks: bool = True,
    idle_timeout: float = 1.0,
    shuffle: bool = False,
) -> AsyncIterator[Balancer]:
    """Start a balancer in a process of its own, and stop it when the block is left.

    Args:
        processes: what owns its process.
        directory: a private directory, for the socket of its admin API.
        log: the file that its own messages are appended to.
        health: how it finds out who is up.
        access_log: the file that gets one line an exchange.
        listen: where clients connect; port 0 lets the kernel choose.
        hold_seconds: how long a request may wait for a backend when none is up.
        affinity_cookie: the name of the cookie that keeps a user on one version; absent: none.
        reuse_post: whether it sends POST and PATCH on kept connections.
        retry: whether a request is tried again when a replica refuses or loses it.
        passive_checks: whether the failures of live requests take a replica out.
        active_checks: whether a replica that is up is checked.
        idle_timeout: how long an idle connection to a replica may be used again, in seconds.
        shuffle: whether it chooses in an order of its own in each round.

    Raises:
        EnvironmentFailure: it does not start.
    """
    socket = directory / f"balancer-{secrets.token_hex(4)}.sock"
    command = [sys.executable, "-P", "-m", "balancer"]
    command += ["--listen", listen, "--admin", f"unix:{socket}"]
    command += ["--health-path", health.path]
    command += ["--health-interval", f"{health.interval:g}"]
    command += ["--health-fast-interval", f"{health.fast_interval:g}"]
    command += ["--health-timeout", f"{health.timeout:g}"]
    command += ["--rise", str(health.rise), "--fall", str(health.fall)]
    command += ["--hold-seconds", f"{hold_seconds:g}"]
    if affinity_cookie is not None:
        command += ["--affinity-cookie", affinity_cookie]
    if reuse_post:
        command.append("--reuse-post")
    if not retry:
        command += ["--no-retry"]
    if not passive_checks:
        command += ["--no-passive-checks"]
    if shuffle:
        command += ["--shuffle"]
    if not active_checks:
        command += ["--no-active-checks"]
    command += ["--timeout-reuse", f"{idle_timeout:g}"]
    if access_log is not None:
        command += ["--access-log", str(access_log)]
    async with AsyncExitStack() as stack:
        try:
            child = await processes.start(command, name="balancer", log=log, dialogue=True)
        except ProcessError as error:
            raise EnvironmentFailure(str(error)) from error
        stack.push_async_callback(child.stop, _GRACE_SECONDS)
        said = await _first_line(child)
        client = await stack.enter_async_context(AdminClient(said.admin))
        yield Balancer(
            address=said.listen,
            admin=said.admin,
            router=HitlessRouter(client, health, notices=active_checks or passive_checks),
            process=child,
            client=client,
            version=_version(),
        )


async def check(settings: RouterSettings) -> str:
    """See that the settings are for this router; returns its version.

    Raises:
        RouterConfigError: they are not.
    """
    for key, value in (("binary", settings.binary), ("config", settings.config)):
        if value is not None:
            raise RouterConfigError(
                f"router.{key}: router hitless has none; say router.kind as well, such as haproxy"
            )
    return _version()


@asynccontextmanager
async def start(processes: Processes, settings: RouterSettings) -> AsyncIterator[Balancer]:
    """Run a balancer while the block runs.

    Raises:
        RouterConfigError: the settings are not for this router.
        EnvironmentFailure: it does not start.
    """
    await check(settings)
    async with start_balancer(
        processes,
        directory=settings.directory,
        log=settings.logs / "balancer.log",
        health=settings.health,
        access_log=settings.access_log,
        listen=settings.listen,
        hold_seconds=settings.hold_seconds,
        affinity_cookie=settings.affinity_cookie,
        reuse_post=settings.reuse_post,
        retry=settings.retry,
        passive_checks=settings.passive_checks,
        active_checks=settings.active_checks,
        idle_timeout=settings.idle_timeout,
        shuffle=settings.shuffle,
    ) as balancer:
        yield balancer


def _version() -> str:
    return f"hitless {distribution_version('hitless')}"


def _count(one: Mapping[str, Any]) -> RequestCounts:
    *bounds, _ = one["latency_buckets"]  # the last one has no bound
    latency = Latency(
        tuple(float(bound) for bound in bounds),
        tuple(one["latency_buckets"].values()),
        one["latency_seconds_sum"],
    )
    return RequestCounts(one["requests"], one["failed"], latency, one["in_flight"])


async def _first_line(child: ChildProcess) -> _Listening:
    try:
        async with asyncio.timeout(_START_SECONDS):
            return msgspec.json.decode(await child.stdout.readline(), type=_Listening)
    except (TimeoutError, msgspec.DecodeError) as error:
        last = " | ".join(child.last_lines(3).splitlines()) or "(it said nothing)"
        raise EnvironmentFailure(f"the balancer does not start: {last}") from error


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except AdminError as error:
        raise RouterError(f"{what}: {error}") from error
