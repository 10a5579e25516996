"""Makes the faults that a scenario asks for: real ones, bounded, on the run's own processes only.

Each is a verb of the journal, `fault`, so that a verdict knows when it was made. A fault that could
not be made is no fault: the run is then invalid, for it has not shown what it was to show.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from orchestrator.database import connected
from orchestrator.errors import EnvironmentFailure
from orchestrator.journal import Journal
from orchestrator.model import JournalEvent, Replica
from orchestrator.pooler import PgBouncer
from orchestrator.postgres import EmbeddedServer
from orchestrator.rollout import Rollout
from scenarios.runner.beside_web import BesideWeb
from scenarios.runner.environment import Environment
from scenarios.runner.process_faults import ProcessFaults
from scenarios.scenario.process_checks import OF_PROCESSES
from scenarios.scenario.spec import FaultSpec, Scenario

APPLICATION_NAME = "hitless-fault"

_SERVING_SECONDS = 0.02


class PhaseClock:
    """Tells when phases begin; `hear` is a listener of the journal."""

    def __init__(self) -> None:
        self._begun: dict[str, asyncio.Event] = {}

    def hear(self, event: JournalEvent) -> None:
        """Take note of a phase that begins."""
        if event.verb == "phase" and event.state == "started":
            self._of(str(event.detail.get("name"))).set()

    async def begin(self, phase: str) -> None:
        """Wait until the phase has begun."""
        await self._of(phase).wait()

    def _of(self, phase: str) -> asyncio.Event:
        return self._begun.setdefault(phase, asyncio.Event())


class Faults:
    """The faults of one run."""

    def __init__(  # noqa: PLR0917 - what it hurts, and what it tells
        self,
        scenario: Scenario,
        clock: PhaseClock,
        journal: Journal,
        rollout: Rollout,
        load_pid: int,
        url: str,
        environment: Environment,
        beside: BesideWeb | None = None,
        pooler: PgBouncer | None = None,
    ) -> None:
        """Describe them; `run` makes them when their time comes."""
        self._scenario = scenario
        self._clock = clock
        self._journal = journal
        self._rollout = rollout
        self._load_pid = load_pid
        self._url = url
        self._environment = environment
        self._beside = beside or BesideWeb()
        self._processes = ProcessFaults(self._beside, journal)
        self._pooler = pooler
        self._waiting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Make each fault at its time; they do not wait for each other.

        Raises:
            EnvironmentFailure: one cannot be made here at all.
        """
        async with asyncio.TaskGroup() as group:
            for spec in self._scenario.faults:
                group.create_task(self._one(spec), name=f"fault {spec.do}")

    def close(self) -> None:
        """Begin no more of them; `run` then ends when those under way are over."""
        for task in self._waiting:
            task.cancel()

    async def _one(self, spec: FaultSpec) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._waiting.add(task)
        await self._clock.begin(spec.phase)
        await asyncio.sleep(spec.after_seconds)
        replica = await self._victim(spec) if spec.do in ("kill", "freeze") else None
        if spec.do in OF_PROCESSES:
            replica = await self._processes.wait(spec)
        if task is not None:
            self._waiting.discard(task)
        await self._make(spec, replica)

    async def _make(self, spec: FaultSpec, replica: Replica | None) -> None:
        if spec.do in OF_PROCESSES:
            await self._processes.make(spec, replica)
            return
        match spec.do:
            case "kill" | "freeze" | "freeze-load":
                async with self._verb(spec, replica):
                    await self._hurt(spec, replica.pid if replica else self._load_pid)
            case "block" | "sql":
                async with self._verb(spec), connected(self._url, APPLICATION_NAME) as session:
                    await self._execute(spec, session)
            case "restart-pooler" if self._pooler is not None:
                async with self._verb(spec):
                    await self._pooler.stop()
                    await asyncio.sleep(spec.seconds)
                    await self._pooler.start()
            case "restart-postgres" | "crash-postgres":
                server = await self._environment.server()
                if not isinstance(server, EmbeddedServer):
                    raise EnvironmentFailure(
                        f"fault {spec.do}: hitless restarts only the embedded Postgres"
                    )
                async with self._verb(spec):
                    await server.restart(immediately=spec.do == "crash-postgres")

    @asynccontextmanager
    async def _verb(self, spec: FaultSpec, replica: Replica | None = None) -> AsyncIterator[None]:
        async with self._journal.verb(
            "fault",
            version=replica.version if replica else None,
            replicas=[replica.id] if replica else (),
            detail={"name": spec.do},
        ):
            yield

    async def _victim(self, spec: FaultSpec) -> Replica:
        """The replica that has served longest; one has to serve first."""
        rollout = self._rollout
        if spec.service is not None:
            rollout = self._beside.service(spec.service).set.rollout
        while True:
            for replica in rollout.serving():
                if spec.version in (None, replica.version):
                    return replica
            await asyncio.sleep(_SERVING_SECONDS)

    async def _hurt(self, spec: FaultSpec, pid: int) -> None:
        # Every child of ours leads a group of its own, which may hold a wrapper's children.
        with contextlib.suppress(ProcessLookupError):
            if spec.do == "kill":
                os.killpg(pid, signal.SIGKILL)
                return
            os.killpg(pid, signal.SIGSTOP)
            try:
                await asyncio.sleep(spec.seconds)
            finally:
                os.killpg(pid, signal.SIGCONT)

    async def _execute(self, spec: FaultSpec, session: Any) -> None:  # noqa: ANN401 - asyncpg ships no types
        async with session.transaction():
            if spec.do == "sql":
                await session.execute(spec.sql)
                return
            rows = self._scenario.database.rows if self._scenario.database else None
            table = spec.table or (rows.table if rows else "")
            quoted = ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))
            await session.execute(f"LOCK TABLE {quoted} IN {spec.mode} MODE")
            await asyncio.sleep(spec.seconds)
