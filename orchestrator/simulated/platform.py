"""The simulated platform: starts, probes and stops replicas in virtual time."""

import asyncio
from collections.abc import Callable, Iterable
from itertools import count

from orchestrator.errors import PlatformError
from orchestrator.interfaces import ProbeResult, ReplicaExit
from orchestrator.model import Replica, Version
from orchestrator.simulated.events import Events
from orchestrator.simulated.replica import Behaviour, SimulatedReplica
from orchestrator.simulated.world_settings import World

OnExit = Callable[[Replica, ReplicaExit], None]

_FIRST_PORT = 1024
_PORTS = 60_000


class SimulatedPlatform:
    """The Platform of a simulated world.

    Attributes:
        replicas: the replicas by id, also those that have ended.
        on_exit: told of each replica that ended by itself.
        on_behaviour: told of each version when its first replica starts.
    """

    def __init__(self, world: World, events: Events, seed: int) -> None:
        self._world = world
        self._events = events
        self._seed = seed
        self._numbers = count()
        self._factors = [one.service_factor for one in world.endpoints]
        self._behaviours: dict[str, Behaviour] = {}
        self._stopping: set[str] = set()
        self._over: set[str] = set()
        self.replicas: dict[str, SimulatedReplica] = {}
        self.on_exit: OnExit = lambda _replica, _ended: None
        self.on_behaviour: Callable[[Behaviour], None] = lambda _behaviour: None

    @property
    def now_ns(self) -> int:
        """The virtual time."""
        return self._events.clock.ns

    def behaviour(self, version: str) -> Behaviour:
        """What the replicas of a version do; the same object for all of them."""
        known = self._behaviours.get(version)
        if known is None:
            model = self._world.model_of(version)
            known = self._behaviours[version] = Behaviour(version, model, self._factors)
            self.on_behaviour(known)
        return known

    async def start(self, version: Version, replica_id: str) -> Replica:
        """Start a replica; it listens after its version's start time."""
        number = next(self._numbers)
        replica = Replica(
            id=replica_id,
            version=version.name,
            # An address for each, so that none is ever used again.
            host=f"10.{number // _PORTS // 256 % 256}.{number // _PORTS % 256}.1",
            port=_FIRST_PORT + number % _PORTS,
            started_ns=self._events.clock.ns,
        )
        simulated = SimulatedReplica(
            replica, self.behaviour(version.name), self._events, self._seed
        )
        simulated.on_end = self._ended
        self.replicas[replica_id] = simulated
        return replica

    def is_running(self, replica: Replica) -> bool:
        """Whether the replica has not ended yet."""
        # Asked twice a second for each of ten thousand: hence without a call of `of`.
        known = self.replicas.get(replica.id) or self.of(replica)
        return known.ended is None

    async def wait_listening(self, replica: Replica) -> None:
        """Wait until the replica's port is open."""
        await self.of(replica).listening()

    def why_not_listening(self, replica: Replica) -> str:
        """What `wait_listening` still waits for."""
        return f"it does not listen on {replica.address}"

    async def probe(self, replica: Replica, path: str, timeout: float) -> ProbeResult:  # noqa: ASYNC109 - a limit on the request
        """Send the replica one GET directly."""
        simulated = self.of(replica)
        if not simulated.accepts:
            return ProbeResult(None, "the connection was refused")
        if simulated.hangs:
            await asyncio.sleep(timeout)
            return ProbeResult(None, f"no answer within {timeout:g} s")
        await asyncio.sleep(2 * self._world.network.delay_seconds)
        if simulated.ended is not None:
            return ProbeResult(None, "the connection was reset")
        good = self.would_answer(replica, path)
        return ProbeResult(200, "") if good else ProbeResult(503, "not ready")

    def would_answer(self, replica: Replica, path: str) -> bool:
        """Whether a probe of this path would succeed now."""
        simulated = self.of(replica)
        return simulated.has_started and (
            simulated.behaviour.ready or not self._world.checks_schema(path)
        )

    async def wait_ended(self, replica: Replica) -> ReplicaExit:
        """Wait until the replica has ended."""
        return await self.of(replica).end_of_life()

    async def stop(self, replica: Replica, grace: float) -> ReplicaExit:
        """Ask the replica to stop, and kill it after `grace` seconds."""
        simulated = self.of(replica)
        self._stopping.add(replica.id)
        simulated.ask_to_stop()
        try:
            async with asyncio.timeout(grace):
                return await simulated.end_of_life()
        except TimeoutError:
            simulated.kill()
            return await simulated.end_of_life()

    def of(self, replica: Replica) -> SimulatedReplica:
        """The simulated replica behind one that the orchestrator knows.

        Raises:
            PlatformError: it was not started here.
        """
        try:
            return self.replicas[replica.id]
        except KeyError:
            raise PlatformError(f"{replica.id} was not started here") from None

    def all_run(self, ids: Iterable[str]) -> bool:
        """Whether none of these replicas has ended."""
        return self._over.isdisjoint(ids)

    def _ended(self, simulated: SimulatedReplica) -> None:
        self._over.add(simulated.replica.id)
        if simulated.replica.id not in self._stopping and simulated.ended is not None:
            self.on_exit(simulated.replica, simulated.ended)
