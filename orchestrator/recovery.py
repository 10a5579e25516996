"""Recovery: finish or roll back a release whose orchestrator was killed.

A run that keeps its processes (`Processes(keep=True)`) first writes a `FleetPlan` into its folder
and holds a lock on the folder while it lives. After its death, a recovery takes the lock, reads the
plan and the journal, looks at what really runs and at what the balancer knows, and then finishes
the release (`resume`) or rolls it back (`abort`, `undo`). In each case the fleet changes in the
order of any rollback: missing replicas are started, all traffic moves when all of them are up, and
only then the other replicas are drained and stopped.
"""

import asyncio
import contextlib
import fcntl
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from balancer.client import AdminClient, AdminError
from orchestrator import guardian
from orchestrator.deployment_history import DeploymentHistory, ensure_compatible
from orchestrator.errors import OrchestratorError, RouterError
from orchestrator.fleet import Member
from orchestrator.interfaces import Migrator
from orchestrator.journal import Journal
from orchestrator.model import Deploy, JournalEvent, Release, ReleaseResult, Replica, Version
from orchestrator.platforms.local import REPLICA, LocalPlatform
from orchestrator.policy import Policy
from orchestrator.processes import Processes
from orchestrator.release import ReleaseRun, restore, take_down
from orchestrator.rollout import Rollout
from orchestrator.routers.hitless import HealthCheck, HitlessRouter
from orchestrator.strategies import STRATEGIES

PLAN, JOURNAL, LOCK = "fleet.json", "events.ndjson", "fleet.lock"


class RecoveryError(OrchestratorError):
    """There is no fleet to recover, or another process still manages it."""


class FleetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a recovery must know of a run, written before the run begins.

    Attributes:
        mark: the mark of its processes: see `orchestrator.guardian.MARK`.
        admin: the address of the balancer's admin API.
        directories: folders that are removed with the fleet; the last one holds the private folders
            of the replicas.
        health: how the balancer checks replicas.
        policy: the policy of the rollout.
        strategy: the name of the strategy.
        release: the release.
        values: the values of placeholders in commands.
        seed: the run's seed.
    """

    mark: str
    admin: str
    directories: tuple[str, ...]
    health: HealthCheck
    policy: Policy
    strategy: str
    release: Release
    values: Mapping[str, str] = msgspec.field(default_factory=dict)
    seed: int = 0

    @contextmanager
    def in_force(self, folder: Path) -> Iterator[None]:
        """Write the plan and lock the fleet while the block runs; then remove the plan.

        Only its owner can read the file, because the values can contain a password.
        """
        path = folder / PLAN
        with locked(folder):
            path.touch(mode=0o600)
            path.write_bytes(msgspec.json.encode(self, enc_hook=str))
            try:
                yield
            finally:
                path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock on the fleet of this folder while the block runs.

    Raises:
        RecoveryError: another process holds it.
    """
    with (folder / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecoveryError(f"{folder}: another process manages this fleet") from None
        yield


@dataclass(frozen=True, slots=True)
class JournalledState:
    """PURE: the state of a release at the end of its journal.

    Attributes:
        served: the versions that served, in order; the last one serves.
        schemas: how often the schema had changed when each of these versions was deployed.
        schema: how often the schema has changed so far, including a change that only began.
        done: how many steps of the release are done.
        under_way: the version that was being deployed, if any.
        started: the replicas that were started and not stopped, by id, with address and pid.
        leaving: the replicas whose drain or stop had begun.
        last_number: the number of the last event.
        last_replica: the highest number of a replica.
    """

    served: tuple[str, ...]
    schemas: tuple[int, ...]
    schema: int
    done: int
    under_way: str | None
    started: Mapping[str, tuple[str, int]]
    leaving: frozenset[str]
    last_number: int
    last_replica: int


def state_from_journal(start: str, events: list[JournalEvent]) -> JournalledState:
    """Derive the state from the events of a journal, which may end at any point."""
    served, under_way, last = [start], None, 0
    schemas, schema, done = [0], 0, 0
    started: dict[str, tuple[str, int]] = {}
    leaving: set[str] = set()
    for event in events:
        if event.verb == "deploy" and event.version is not None:
            under_way = event.version if event.state == "started" else None
            if event.state == "completed":
                served.append(event.version)
                schemas.append(schema)
                done += 1  # the `step` note that follows says the same
        if event.verb == "step":
            done = msgspec.convert(event.detail, _Done).done
        schema += event.verb == "migrate" and event.state == "started"
        if event.verb == "start":
            numbers = [int(one.rpartition("-")[2]) for one in event.replicas]
            last = max([last, *numbers])
            if event.state == "completed":
                known = msgspec.convert(event.detail, _Started)
                started |= {one: (known.addresses[one], known.pids[one]) for one in event.replicas}
        if event.verb == "stop" and event.state == "completed":
            for one in event.replicas:
                started.pop(one, None)
        if event.verb in ("drain", "stop"):
            leaving |= set(event.replicas)
    number = max((event.number for event in events), default=0)
    return JournalledState(
        served=tuple(served),
        schemas=tuple(schemas),
        schema=schema,
        done=done,
        under_way=under_way,
        started=started,
        leaving=frozenset(leaving),
        last_number=number,
        last_replica=last,
    )


class _Started(msgspec.Struct, frozen=True):
    addresses: dict[str, str]
    pids: dict[str, int]


class _Done(msgspec.Struct, frozen=True):
    done: int


class Recovery:
    """A fleet whose orchestrator is gone; made by `recovering`.

    Attributes:
        rollout: the rollout over that fleet.
        plan: the plan that its run wrote.
        processes: owns the processes that the recovery starts; they go on after it.
        versions: the release's versions, by name.
    """

    def __init__(
        self,
        folder: Path,
        plan: FleetPlan,
        before: JournalledState,
        rollout: Rollout,
        processes: Processes,
    ) -> None:
        self.rollout = rollout
        self.plan = plan
        self.processes = processes
        self._folder = folder
        self._past = before
        self.versions = {plan.release.start.name: plan.release.start}
        for step in plan.release.steps:
            if isinstance(step, Deploy):
                self.versions[step.version.name] = step.version

    async def abort(self) -> str:
        """Roll back: only the version that served before serves afterwards.

        Raises:
            RollbackRefused: that version does not work with the schema; nothing has changed.
        """
        history = self._history()
        version = history.served[-1]
        with self.rollout.in_mode("rollback"):
            await ensure_compatible(self.rollout, version, history, history.schemas[-1])
            await restore(self.rollout, version)
        return f"aborted: {version.name} serves"

    async def resume(self, migrator: Migrator) -> ReleaseResult:
        """Finish the release, from its first step that is not done.

        Migrations are not taken back here, because there is no database copy for a rehearsal. A
        canary that did not have all traffic yet has not been judged: its deployment begins again
        from the version before. Other deployments continue with the replicas that are up.
        """
        plan, rollout = self.plan, self.rollout
        target, done, history = self._past.under_way, self._past.done, self._history()
        shares = rollout.fleet.shares()
        judged = plan.strategy != "canary" or shares.get(target or "", 0.0) >= 100  # noqa: PLR2004 - percent
        with rollout.in_mode("rollback"):
            if target is not None and judged:
                await restore(rollout, self.versions[target], verb="recover")
                history.served.append(self.versions[target])
                history.schemas.append(history.schema)
                done += 1
            else:
                await restore(rollout, history.served[-1], verb="recover")
        return await ReleaseRun(
            plan.release,
            rollout,
            STRATEGIES[plan.strategy],
            migrator,
            history=history,
            done=done,
        ).run()

    async def undo(self, migrator: Migrator) -> ReleaseResult:
        """Deploy the version that served before the present one, if it works with the schema.

        Raises:
            RecoveryError: a deployment was under way; it must be resumed or aborted first.
        """
        plan, before = self.plan, self._past
        if before.under_way is not None:
            raise RecoveryError(
                f"{self._folder}: the deployment of {before.under_way} was under way; "
                "resume or abort it first"
            )
        run = ReleaseRun(
            plan.release,
            self.rollout,
            STRATEGIES[plan.strategy],
            migrator,
            history=self._history(),
            done=before.done,
        )
        return await run.undo()

    def _history(self) -> DeploymentHistory:
        before = self._past
        served = [self.versions[name] for name in before.served]
        return DeploymentHistory(served, list(before.schemas), before.schema)

    async def finish(self) -> str:
        """Drain and stop the whole fleet, including the balancer."""
        await take_down(self.rollout)
        await asyncio.to_thread(guardian.end_all, (), self.plan.mark)
        for directory in self.plan.directories:
            shutil.rmtree(directory, ignore_errors=True)
        (self._folder / PLAN).unlink()
        return "finished: all processes of the run have ended"


@asynccontextmanager
async def recovering(folder: Path) -> AsyncIterator[Recovery]:
    """Take over the fleet of a run whose orchestrator is gone; it goes on after the block.

    Raises:
        RecoveryError: there is no such fleet, or its orchestrator still runs.
        RouterError: its balancer does not answer.
    """
    try:
        plan = msgspec.json.decode(
            (folder / PLAN).read_bytes(), type=FleetPlan, dec_hook=lambda kind, value: kind(value)
        )
    except OSError as error:
        raise RecoveryError(f"{folder}: no fleet to recover there ({error.strerror})") from error
    with locked(folder):
        before = state_from_journal(plan.release.start.name, _events(folder / JOURNAL))
        with Journal(folder / JOURNAL, last_number=before.last_number) as journal:
            async with (
                Processes(keep=True, mark=plan.mark) as processes,
                AdminClient(plan.admin) as client,
                LocalPlatform(
                    processes,
                    log_directory=folder,
                    values=plan.values,
                    replica_directories=Path(plan.directories[-1]),
                ) as platform,
            ):
                processes.leave()
                rollout = Rollout(
                    platform,
                    HitlessRouter(client, plan.health),
                    journal,
                    plan.policy,
                    first_number=before.last_replica + 1,
                    seed=plan.seed,
                )
                recovery = Recovery(folder, plan, before, rollout, processes)
                await _adopt(
                    versions=recovery.versions,
                    before=before,
                    platform=platform,
                    client=client,
                    rollout=rollout,
                    mark=plan.mark,
                )
                yield recovery


async def _adopt(
    *,
    versions: Mapping[str, Version],
    before: JournalledState,
    platform: LocalPlatform,
    client: AdminClient,
    rollout: Rollout,
    mark: str,
) -> None:
    """Add the replicas that really run to the fleet; end those that the journal does not know."""
    try:
        known = {one.id: one for one in await client.backends()}
    except AdminError as error:
        raise RouterError(f"the balancer is gone: {error}") from error
    running = _replicas(mark)
    for name, (address, pid) in before.started.items():
        if running.pop(name, None) != pid:
            with contextlib.suppress(AdminError):
                await client.delete(name)
            continue
        version = versions[name.rpartition("-")[0]]
        host, _, port = address.rpartition(":")
        replica = Replica(id=name, version=version.name, host=host, port=int(port), pid=pid)
        platform.adopt(replica, version)
        member = Member(replica, version, leaving=name in before.leaving)
        if (backend := known.get(name)) is not None:
            member.registered = True
            member.weight = backend.weight
            member.leaving = member.leaving or backend.state == "draining"
        rollout.fleet.add(member)
    for pid in running.values():
        # It was being started when its orchestrator was killed: no user has schemas it.
        await asyncio.to_thread(guardian.end_processes, [pid])


def _replicas(mark: str) -> dict[str, int]:
    """Find the running replicas by their environment; for each id, its oldest process."""
    found: dict[str, int] = {}
    for pid in sorted(guardian.marked_processes(mark)):
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                name, _, value = entry.decode(errors="replace").partition("=")
                if name == REPLICA:
                    found.setdefault(value, pid)
    return found


def _events(path: Path) -> list[JournalEvent]:
    """Read all complete lines; the last line may have been cut off."""
    events = []
    for line in path.read_bytes().splitlines():
        try:
            events.append(msgspec.json.decode(line, type=JournalEvent))
        except msgspec.DecodeError:
            break
    return events
