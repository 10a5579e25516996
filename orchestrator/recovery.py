"""After the orchestrator was killed: finish what it had begun, from the journal and what runs.

A run that may be survived (`Processes(keep=True)`) writes down what it is about before it begins (a
`Plan`), and holds a lock on its folder for as long as it lives. Whoever comes after it takes the
lock, reads the plan and the journal, looks at what really runs and what the balancer knows, and
then either goes on (`resume`) or back (`abort`, `undo`). In each case the fleet changes in the same
order as in any rollback: what is missing is started, all traffic moves when all are up, and only
then the others are drained and stopped.
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
from orchestrator.errors import OrchestratorError, RouterError
from orchestrator.fleet import Member
from orchestrator.journal import Journal
from orchestrator.model import Deploy, Event, Release, ReleaseResult, Replica, Version
from orchestrator.platform import Migrator
from orchestrator.platforms.local import REPLICA, LocalPlatform
from orchestrator.policy import Policy
from orchestrator.processes import Processes
from orchestrator.release import (
    STEP,
    History,
    ReleaseRun,
    need_works,
    restore,
    take_down,
)
from orchestrator.rollout import Rollout
from orchestrator.routers.hitless import HealthCheck, HitlessRouter
from orchestrator.strategies import STRATEGIES

PLAN, JOURNAL, LOCK = "fleet.json", "events.ndjson", "fleet.lock"


class RecoveryError(OrchestratorError):
    """There is nothing to recover, or somebody else is at it."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is about.

    Attributes:
        mark: of its processes.
        admin: the balancer's admin API.
        directories: what goes with the fleet; the last one holds the replicas' own.
        health: what the balancer checks.
        policy: the knobs.
        strategy: the name of the strategy.
        release: what is done.
        values: the placeholders of commands.
    """

    mark: str
    admin: str
    directories: tuple[str, ...]
    health: HealthCheck
    policy: Policy
    strategy: str
    release: Release
    values: Mapping[str, str] = msgspec.field(default_factory=dict)

    @contextmanager
    def in_force(self, folder: Path) -> Iterator[None]:
        """It holds while the block runs: written down, and the fleet locked.

        It is for its owner's eyes only, since the values may hold a password.
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
    """Be the only one who changes the fleet of this folder.

    Raises:
        RecoveryError: somebody else is.
    """
    with (folder / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecoveryError(f"{folder}: another rollout works on this fleet") from None
        yield


@dataclass(frozen=True, slots=True)
class Past:
    """PURE: what a journal says of the moment at which it broke off.

    Attributes:
        served: the versions that served, in order; the last one serves.
        met: how often the schema had changed when each of them was deployed.
        schema: how often it has changed until now, counting what had only begun.
        done: how many steps of the release are behind it.
        under_way: the version that was being deployed, if one was.
        started: the replicas that were started and not stopped, by id, with address and pid.
        leaving: those that were told to go, or that it had begun to tell.
        last_number: of its events.
        last_replica: the highest number of a replica.
    """

    served: tuple[str, ...]
    met: tuple[int, ...]
    schema: int
    done: int
    under_way: str | None
    started: Mapping[str, tuple[str, int]]
    leaving: frozenset[str]
    last_number: int
    last_replica: int


def past(start: str, events: list[Event]) -> Past:
    """Read a journal that may have broken off anywhere."""
    served, under_way, last = [start], None, 0
    met, schema, done = [0], 0, 0
    started: dict[str, tuple[str, int]] = {}
    leaving: set[str] = set()
    for event in events:
        if event.verb == "deploy" and event.version is not None:
            under_way = event.version if event.state == "started" else None
            if event.state == "completed":
                served.append(event.version)
                met.append(schema)
                done += 1  # as its step's own note will say, if it came to that
        if event.verb == STEP:
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
    return Past(
        served=tuple(served),
        met=tuple(met),
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
    """A fleet that lost its orchestrator; made by `recovering`.

    Attributes:
        rollout: what can be done to it.
        plan: what its run was about.
        processes: the owner of what is started for it; they go on when it is left.
        versions: by name.
    """

    def __init__(
        self, folder: Path, plan: Plan, before: Past, rollout: Rollout, processes: Processes
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
        """Let the version that served before serve again, and it alone.

        Raises:
            RollbackRefused: it does not work with the schema; what serves, serves on.
        """
        history = self._history()
        version = history.served[-1]
        with self.rollout.going("back"):
            await need_works(self.rollout, version, history, history.met[-1])
            await restore(self.rollout, version)
        return f"aborted: {version.name} serves"

    async def resume(self, migrator: Migrator) -> ReleaseResult:
        """Finish the release, from the first step that is not behind it.

        Migrations are not taken back here, for there is nowhere to try that first. A canary that
        was not yet given all traffic has not been judged: it begins anew from the version before.
        Everything else goes on with what is up.
        """
        plan, rollout = self.plan, self.rollout
        target, done, history = self._past.under_way, self._past.done, self._history()
        shares = rollout.fleet.shares()
        judged = plan.strategy != "canary" or shares.get(target or "", 0.0) >= 100  # noqa: PLR2004 - percent
        with rollout.going("back"):
            if target is not None and judged:
                await restore(rollout, self.versions[target], verb="recover")
                history.served.append(self.versions[target])
                history.met.append(history.schema)
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
            RecoveryError: a deployment was under way, which must be ended first.
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

    def _history(self) -> History:
        before = self._past
        served = [self.versions[name] for name in before.served]
        return History(served, list(before.met), before.schema)

    async def finish(self) -> str:
        """Drain and stop all of it, the balancer included."""
        await take_down(self.rollout)
        await asyncio.to_thread(guardian.end_all, (), self.plan.mark)
        for directory in self.plan.directories:
            shutil.rmtree(directory, ignore_errors=True)
        (self._folder / PLAN).unlink()
        return "finished: nothing of it runs any more"


@asynccontextmanager
async def recovering(folder: Path) -> AsyncIterator[Recovery]:
    """Take on the fleet of a run whose orchestrator is gone; it goes on when the block is left.

    Raises:
        RecoveryError: there is none, or its orchestrator is not gone.
        RouterError: its balancer does not answer.
    """
    try:
        plan = msgspec.json.decode(
            (folder / PLAN).read_bytes(), type=Plan, dec_hook=lambda kind, value: kind(value)
        )
    except OSError as error:
        raise RecoveryError(f"{folder}: no fleet was left there ({error.strerror})") from error
    with locked(folder):
        before = past(plan.release.start.name, _events(folder / JOURNAL))
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
    before: Past,
    platform: LocalPlatform,
    client: AdminClient,
    rollout: Rollout,
    mark: str,
) -> None:
    """Fill the fleet with what really runs; what nobody knows of is ended."""
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
        # It was being started when its orchestrator was killed: no user has met it.
        await asyncio.to_thread(guardian.end_processes, [pid])


def _replicas(mark: str) -> dict[str, int]:
    """The replicas that run, by the environment that they were started with: the eldest of each."""
    found: dict[str, int] = {}
    for pid in sorted(guardian.marked_processes(mark)):
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                name, _, value = entry.decode(errors="replace").partition("=")
                if name == REPLICA:
                    found.setdefault(value, pid)
    return found


def _events(path: Path) -> list[Event]:
    """All whole lines: the last one may have been cut short."""
    events = []
    for line in path.read_bytes().splitlines():
        try:
            events.append(msgspec.json.decode(line, type=Event))
        except msgspec.DecodeError:
            break
    return events
