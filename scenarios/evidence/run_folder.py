"""The folder of a run: which file holds what, and how each is read and written.

Nothing else in the project spells the name of one of these files or opens one for reading.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from scenarios.errors import EvidenceError, StorageError
from scenarios.evidence.backend import BackendChange
from scenarios.evidence.cache_form import CacheForm
from scenarios.evidence.cluster import ClusterChange
from scenarios.evidence.counted import CountedRequests
from scenarios.evidence.event import Event
from scenarios.evidence.evidence import Evidence
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.jobs import JobError, JobEvent, StoredJob
from scenarios.evidence.locks import LockWait
from scenarios.evidence.logged_error import LoggedError
from scenarios.evidence.machine import MachineSample
from scenarios.evidence.mail import Mail
from scenarios.evidence.manifest import Manifest, read_manifest, write_manifest
from scenarios.evidence.ndjson import Lines, damaged, read_lines
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.pooler import PoolerMessage
from scenarios.evidence.read import Read
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.scratch import FileScratch
from scenarios.evidence.served import ServedBy
from scenarios.evidence.server_log import ServerLine
from scenarios.evidence.service_line import ServiceLine
from scenarios.evidence.session_client import SessionClient
from scenarios.evidence.subject import Subject
from scenarios.evidence.tick import Tick
from scenarios.evidence.workers import ForkedProcesses

T = TypeVar("T", bound=msgspec.Struct)
_PROFILE = "probe-"
_SERVICE = "service-"


@dataclass(frozen=True, slots=True)
class RecordFile(Generic[T]):
    """A file of the run with one record a line.

    Attributes:
        path: the file.
        kind: what each line is.
    """

    path: Path
    kind: type[T]

    @property
    def exists(self) -> bool:
        """Whether the run has recorded it."""
        return self.path.is_file()

    def read(self, digest: str | None = None) -> Lines[T]:
        """Each record, in the order of the file: see `Lines` for what may be wrong.

        Args:
            digest: the SHA-256 that the file must have; compared once the last record was taken.
        """
        return read_lines(self.path, self.kind, digest)

    def recorder(self, *, append: bool = False) -> Recorder[T]:
        """Open the file for writing: anew, or to add to it.

        Raises:
            EvidenceError: it cannot be opened.
        """
        return Recorder(self.path, append=append)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a run.

    Attributes:
        path: the folder.
    """

    path: Path

    @classmethod
    def create(cls, parent: Path, now: datetime, scenario: str, strategy: str) -> "RunFolder":
        """Make `<time>-<scenario>-<strategy>`, with a number behind it if that is taken.

        Args:
            parent: where runs are kept; made if it is not there.
            now: for the name.
            scenario: for the name; characters that do not belong in a file name are replaced.
            strategy: the same.

        Raises:
            OSError: it cannot be made.
        """
        name = re.sub(r"[^\w.-]+", "-", f"{now:%Y%m%d-%H%M%S}-{scenario}-{strategy}")
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            folder = parent / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return cls(folder)

    # The evidence: one kind of record a file.

    @property
    def requests(self) -> RecordFile[Outcome]:
        """Every planned request, by the load generator."""
        return RecordFile(self.path / "requests.ndjson", Outcome)

    @property
    def counted(self) -> RecordFile[CountedRequests]:
        """Requests that succeeded, where they were too many for a line each."""
        return RecordFile(self.path / "counted.ndjson", CountedRequests)

    @property
    def mails(self) -> RecordFile[Mail]:
        """The mails that reached the users' mailbox."""
        return RecordFile(self.path / "mails.ndjson", Mail)

    @property
    def events(self) -> RecordFile[Event]:
        """The journal of the release."""
        return RecordFile(self.path / "events.ndjson", Event)

    @property
    def ticks(self) -> RecordFile[Tick]:
        """The load generator's account of itself."""
        return RecordFile(self.path / "ticks.ndjson", Tick)

    @property
    def exchanges(self) -> RecordFile[ExchangeRecord]:
        """The balancer's access log."""
        return RecordFile(self.path / "balancer.ndjson", ExchangeRecord)

    @property
    def service_lines(self) -> RecordFile[ServiceLine]:
        """What the logs of a watched service say of requests."""
        return RecordFile(self.path / "log-lines.ndjson", ServiceLine)

    @property
    def subjects_before(self) -> RecordFile[Subject]:
        """The rows before the first request."""
        return RecordFile(self.path / "subjects-before.ndjson", Subject)

    @property
    def subjects_after(self) -> RecordFile[Subject]:
        """The rows after the run has settled."""
        return RecordFile(self.path / "subjects-after.ndjson", Subject)

    @property
    def lock_waits(self) -> RecordFile[LockWait]:
        """The waits for locks in the database."""
        return RecordFile(self.path / "locks.ndjson", LockWait)

    @property
    def backend_changes(self) -> RecordFile[BackendChange]:
        """The balancer's own events about its backends."""
        return RecordFile(self.path / "backends.ndjson", BackendChange)

    @property
    def cluster_changes(self) -> RecordFile[ClusterChange]:
        """What a cluster told of its pods, Deployments, endpoints, Jobs and nodes."""
        return RecordFile(self.path / "cluster.ndjson", ClusterChange)

    @property
    def server_lines(self) -> RecordFile[ServerLine]:
        """The messages of the embedded Postgres server."""
        return RecordFile(self.path / "postgres.ndjson", ServerLine)

    @property
    def session_clients(self) -> RecordFile[SessionClient]:
        """Which replica had which session of the database."""
        return RecordFile(self.path / "sessions.ndjson", SessionClient)

    @property
    def logged_errors(self) -> RecordFile[LoggedError]:
        """The errors in the logs of the replicas and of the migrations."""
        return RecordFile(self.path / "errors.ndjson", LoggedError)

    @property
    def reads(self) -> RecordFile[Read]:
        """The same reads through each replica, after the run."""
        return RecordFile(self.path / "reads.ndjson", Read)

    @property
    def machine_samples(self) -> RecordFile[MachineSample]:
        """How busy the machine was."""
        return RecordFile(self.path / "machine.ndjson", MachineSample)

    @property
    def jobs(self) -> RecordFile[JobEvent]:
        """What the application told of its jobs."""
        return RecordFile(self.path / "jobs.ndjson", JobEvent)

    @property
    def stored_jobs(self) -> RecordFile[StoredJob]:
        """What the queue still had after the run."""
        return RecordFile(self.path / "stored-jobs.ndjson", StoredJob)

    @property
    def job_errors(self) -> RecordFile[JobError]:
        """The errors in the logs of processes that name a job which has not ended."""
        return RecordFile(self.path / "job-errors.ndjson", JobError)

    @property
    def cache_forms(self) -> RecordFile[CacheForm]:
        """In which forms a store held values."""
        return RecordFile(self.path / "cache.ndjson", CacheForm)

    def service_exchanges(self, name: str) -> RecordFile[ExchangeRecord]:
        """The access log of a service's balancer: the calls of the service."""
        return RecordFile(self.path / f"{_SERVICE}{name}.ndjson", ExchangeRecord)

    # What is derived from the evidence, and what a run needs while it is under way.

    @property
    def manifest(self) -> Path:
        """What was run, and how it ended; a folder without it is not that of a run."""
        return self.path / "run.json"

    @property
    def verdict(self) -> Path:
        """The verdict for programs."""
        return self.path / "verdict.json"

    @property
    def report(self) -> Path:
        """The report for browsers."""
        return self.path / "report.html"

    @property
    def junit(self) -> Path:
        """The verdict for CI systems, as JUnit XML."""
        return self.path / "junit.xml"

    @property
    def summary(self) -> Path:
        """The verdict as Markdown."""
        return self.path / "summary.md"

    @property
    def metrics(self) -> Path:
        """The verdict as Prometheus text."""
        return self.path / "metrics.prom"

    def profile(self, version: str) -> Path:
        """What was found out about a version's server before the run."""
        return self.path / f"{_PROFILE}{version}.json"

    def profiles(self) -> dict[str, bytes]:
        """The same of each version that asked for it, as it was written."""
        found = sorted(self.path.glob(f"{_PROFILE}*.json"))
        return {path.stem.removeprefix(_PROFILE): path.read_bytes() for path in found}

    @property
    def control(self) -> Path:
        """The control socket of an active run, and its process; removed when the run ends."""
        return self.path / "control.json"

    @property
    def balancer_log(self) -> Path:
        """What the balancer printed."""
        return self.path / "balancer.log"

    def service_logs(self, name: str) -> Path:
        """The folder of what a service's balancer printed."""
        return self.path / f"{_SERVICE}{name}"

    @property
    def router(self) -> Path:
        """The files of a router that is not our own: its raw log, and what it printed."""
        return self.path / "router"

    @property
    def load_log(self) -> Path:
        """What the load generator printed."""
        return self.path / "load.log"

    @property
    def migrator_log(self) -> Path:
        """What the migrations printed."""
        return self.path / "migrator.log"

    @property
    def hooks_log(self) -> Path:
        """What the hooks of the release printed."""
        return self.path / "hooks.log"

    @property
    def store_log(self) -> Path:
        """What the command that asks the queue for its jobs printed besides."""
        return self.path / "jobs-store.log"

    def process_logs(self, names: Iterable[str]) -> dict[str, Path]:
        """The logs of the processes of these sets, by the ids of the processes."""
        found = [path for name in names for path in self.path.glob(f"{name}-*.log")]
        return {path.stem: path for path in sorted(found)}

    @property
    def command_log(self) -> Path:
        """What the command printed that a watched deployment was made by."""
        return self.path / "command.log"

    @property
    def server_log(self) -> Path:
        """What the embedded Postgres server logged, as it wrote it."""
        return self.path / "postgres.log"

    @property
    def pooler_log(self) -> Path:
        """What the pooler between the application and Postgres logged."""
        return self.path / "pgbouncer.log"

    @property
    def pooler_messages(self) -> RecordFile[PoolerMessage]:
        """What the pooler complained of."""
        return RecordFile(self.path / "pooler.ndjson", PoolerMessage)

    def followed_logs(self) -> dict[str, Path]:
        """The logs in which replicas and migrations say what went wrong, by who writes them.

        A replica's log is there from its start on, whether or not it ever becomes ready.
        """
        logs = self._replica_logs()
        if self.migrator_log.is_file():
            logs["migrator"] = self.migrator_log
        return logs

    def log_lines(self) -> Iterator[tuple[str, str]]:
        """Each line of each replica's log, with the replica's id.

        Raises:
            OSError: a log cannot be read.
        """
        for replica, path in self._replica_logs().items():
            with path.open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    yield replica, line.strip()

    def _replica_logs(self) -> dict[str, Path]:
        ours = {
            self.balancer_log,
            self.load_log,
            self.migrator_log,
            self.hooks_log,
            self.store_log,
            self.command_log,
            self.server_log,
            self.pooler_log,
            self.path / "initdb.log",
        }
        found = sorted(path for path in self.path.glob("*.log") if path not in ours)
        return {path.stem: path for path in found}

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each evidence file in the folder, by name.

        Raises:
            OSError: one of them cannot be read.
        """
        return {path.name: _digest(path) for path in sorted(self.path.glob("*.ndjson"))}

    def check(self) -> None:
        """See that the folder is that of a run.

        Raises:
            EvidenceError: it is not.
        """
        if not self.path.is_dir():
            what = "is no folder" if self.path.exists() else "folder does not exist"
            raise EvidenceError(f"{self.path}: this {what}")
        if not self.manifest.is_file():
            name = self.manifest.name
            raise EvidenceError(f"{self.path}: not the folder of a run: it has no {name}")

    def read_manifest(self) -> Manifest:
        """Read what was run.

        Raises:
            EvidenceError: the file is missing or not a manifest.
        """
        return read_manifest(self.manifest)

    def write_manifest(self, manifest: Manifest) -> None:
        """Write what was run.

        Raises:
            OSError: it cannot be written.
        """
        write_manifest(self.manifest, manifest)

    def evidence(self) -> Evidence:
        """All that the run has recorded; its files are opened one by one when they are read.

        A file must have the digest in the manifest once its last record was taken; older
        manifests have no digests, and then none is compared.

        Raises:
            EvidenceError: the folder is not that of a run, its manifest is damaged, a file that
                the run recorded is missing, or one that nobody reads has another digest. Reading
                the records raises it, too: a line is damaged, or a file has another digest.
        """
        self.check()
        manifest = self.read_manifest()
        self._check_unread(manifest)
        waits = self.lock_waits
        return Evidence(
            manifest=manifest,
            requests=self._requests(manifest),
            events=_reading(self.events, manifest),
            ticks=_reading(self.ticks, manifest),
            counted=_if_there(self.counted, manifest) or iter(()),
            mails=_reading(self.mails, manifest),
            exchanges=_if_there(self.exchanges, manifest) or (),
            subjects_before=_if_there(self.subjects_before, manifest),
            subjects_after=_if_there(self.subjects_after, manifest),
            lock_waits=_if_there(waits, manifest),
            server_lines=_if_there(self.server_lines, manifest),
            backend_changes=_if_there(self.backend_changes, manifest) or (),
            cluster_changes=_if_there(self.cluster_changes, manifest) or (),
            machine_samples=_if_there(self.machine_samples, manifest) or (),
            logged_errors=_if_there(self.logged_errors, manifest) or (),
            session_clients=_if_there(self.session_clients, manifest) or (),
            reads=_if_there(self.reads, manifest) or (),
            jobs=_if_there(self.jobs, manifest),
            stored_jobs=_if_there(self.stored_jobs, manifest),
            job_errors=_if_there(self.job_errors, manifest) or (),
            cache_forms=_if_there(self.cache_forms, manifest) or (),
            pooler_messages=_if_there(self.pooler_messages, manifest) or (),
            service_calls={
                one.name: _if_there(self.service_exchanges(one.name), manifest) or ()
                for one in manifest.services
            },
            profiles=self.profiles(),
            scratch=FileScratch(),
            workers=ForkedProcesses(),
        )

    def _requests(self, manifest: Manifest) -> Lines[Outcome]:
        """All requests; where no answer names its replica, the router's log does."""
        requests = _reading(self.requests, manifest)
        if manifest.router in _NAMING or not self.exchanges.exists:
            return requests
        return replace(requests, change=ServedBy(self.exchanges.read()).named)

    def _judged_files(self) -> tuple[RecordFile[Any], ...]:
        return (
            *(self.requests, self.events, self.ticks, self.mails, self.exchanges, self.reads),
            self.counted,
            *(self.subjects_before, self.subjects_after, self.lock_waits, self.server_lines),
            *(self.logged_errors, self.session_clients),
            *(self.backend_changes, self.machine_samples, self.cluster_changes),
            *(self.jobs, self.stored_jobs, self.job_errors, self.cache_forms),
            self.pooler_messages,
        )

    def _check_unread(self, manifest: Manifest) -> None:
        """See that no recorded file is missing, and that those of no known kind are unchanged."""
        known = {file.path.name for file in self._judged_files()}
        known |= {self.service_exchanges(one.name).path.name for one in manifest.services}
        for name, digest in manifest.files.items():
            path = self.path / name
            if not path.is_file():
                raise EvidenceError(f"{path}: missing, although the run recorded it")
            if name not in known and _digest(path) != digest:
                raise damaged(path)


_NAMING = frozenset({"hitless"})
"""Routers that name the replica in their answers, so that nobody needs to look it up in a log."""


def _reading(file: RecordFile[T], manifest: Manifest) -> Lines[T]:
    return file.read(manifest.files.get(file.path.name))


def _if_there(file: RecordFile[T], manifest: Manifest) -> Lines[T] | None:
    return _reading(file, manifest) if file.exists else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, data: bytes) -> None:
    """Write a whole file.

    Raises:
        StorageError: the machine refuses it; the message names the file.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
