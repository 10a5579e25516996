"""What looks on during a run: at locks, at the balancer's events, at the machine, at logs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.journal import Journal
from orchestrator.model import JournalEvent
from orchestrator.verbs import verb_named
from scenarios.evidence.locks import LockWait
from scenarios.evidence.run_folder import RunFolder
from scenarios.recording.balancer_events import record_backends
from scenarios.recording.lock_watch import LockWatch
from scenarios.recording.machine import record_machine
from scenarios.recording.replica_logs import Follower, ReplicaLogs
from scenarios.recording.sessions import ClientsWatch, SessionClients


class Observers:
    """Everything that looks on; `hear` is a listener of the run's journal."""

    def __init__(
        self,
        folder: Path,
        *,
        url: str | None,
        admin: str | None,
        marks: Sequence[str],
        on_waits: Callable[[Sequence[LockWait]], None],
        logs: Sequence[Follower] = (),
        machine: bool = True,
    ) -> None:
        """Describe what is looked at.

        Args:
            folder: where the evidence goes.
            url: the application's database, where it has one.
            admin: the balancer's admin address; None with another router, whose adapter records
                its backends.
            marks: the marks of this run's processes, and of those that it shares with other runs.
            on_waits: told who waits for a lock now.
            logs: the logs of a watched service.
            machine: whether this machine is looked at.
        """
        self._logs = tuple(logs)
        self._machine = machine
        self._folder = folder
        self._url = url
        self._admin = admin
        self._marks = tuple(marks)
        self._on_waits = on_waits
        self._watch: LockWatch | None = None
        self._migrating: set[int] = set()

    def hear(self, event: JournalEvent) -> None:
        """Look closely while a migration or a fault is under way."""
        if event.verb not in ("migrate", "fault") or event.state == "noted":
            return
        if event.state == "started":
            self._migrating.add(event.number)
        else:
            self._migrating.discard(event.number)
        if self._watch is not None:
            self._watch.busy = bool(self._migrating)

    @asynccontextmanager
    async def watching(self, journal: Journal) -> AsyncIterator[None]:
        """Look on for the length of the block.

        Raises:
            EnvironmentFailure: the balancer is gone.
        """

        def note(verb: str, error: str | None, detail: Mapping[str, object]) -> None:
            journal.note(verb_named(verb), error=error, detail=detail)

        run = RunFolder(self._folder)
        async with self._clients(run) as clients, asyncio.TaskGroup() as group:
            logs = ReplicaLogs(run.logged_errors.path, run.followed_logs, self._logs)
            tasks = [group.create_task(logs.follow(), name="logs of the replicas")]
            if self._machine:
                load = record_machine(run.machine_samples.path, self._marks)
                tasks.append(group.create_task(load, name="load of the machine"))
            if self._admin is not None:
                recording = record_backends(self._admin, run)
                tasks.append(group.create_task(recording, name="events of the balancer"))
            if self._url is not None:
                waits = run.lock_waits.path
                self._watch = LockWatch(self._url, waits, note, self._on_waits, clients)
                tasks.append(group.create_task(self._watch.run(), name="watch of the locks"))
            yield
            for task in tasks:
                task.cancel()

    @asynccontextmanager
    async def _clients(self, run: RunFolder) -> AsyncIterator[ClientsWatch | None]:
        """What finds out which replica has which session; None without a database."""
        if self._url is None:
            yield None
            return
        with run.session_clients.recorder() as recorder:
            clients = ClientsWatch(SessionClients(self._marks), recorder)
            yield clients
            clients.close()
