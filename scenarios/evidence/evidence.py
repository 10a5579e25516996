"""Everything that a run has recorded, as one thing that can be judged."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scenarios.evidence.backend import BackendChange
from scenarios.evidence.cache_form import CacheForm
from scenarios.evidence.cluster import ClusterChange
from scenarios.evidence.counted import CountedRequests
from scenarios.evidence.event import Event
from scenarios.evidence.exchange import ExchangeRecord
from scenarios.evidence.jobs import JobError, JobEvent, StoredJob
from scenarios.evidence.locks import LockWait
from scenarios.evidence.logged_error import LoggedError
from scenarios.evidence.machine import MachineSample
from scenarios.evidence.mail import Mail
from scenarios.evidence.manifest import Manifest
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.pooler import PoolerMessage
from scenarios.evidence.read import Read
from scenarios.evidence.scratch import MemoryScratch, Scratch
from scenarios.evidence.server_log import ServerLine
from scenarios.evidence.session_client import SessionClient
from scenarios.evidence.subject import Subject
from scenarios.evidence.tick import Tick
from scenarios.evidence.workers import OneProcess, Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The evidence of one run; `RunFolder.evidence` makes it from a folder.

    Each iterable can be read once, because it may be the lines of a file. The records of one kind
    may come in any order.

    Attributes:
        manifest: the description of the run, with its objectives.
        requests: every planned request, but for those that are only counted.
        counted: requests that succeeded, where they were too many for a line each.
        events: the journal.
        ticks: the load generator's account of itself.
        mails: the mails that reached the users' mailbox.
        exchanges: the balancer's access log; empty if there is none.
        subjects_before: the rows before the first request; None if the database was not read.
        subjects_after: the rows after the run had settled; None likewise.
        lock_waits: the waits for locks; None if the run did not watch them.
        server_lines: the messages of Postgres; None if they are not known.
        backend_changes: the balancer's events about its backends; empty if they are not known.
        cluster_changes: what a cluster told of its pods; empty if the run looked at none.
        machine_samples: how busy the machine was; empty if the run did not record it.
        logged_errors: the errors in the replicas' logs; empty if the run did not follow them.
        session_clients: which replica had which session of the database; empty if nobody looked.
        reads: the same reads through each replica, after the run; empty if there were none.
        jobs: what the application told of its jobs; None if the run did not look at jobs.
        stored_jobs: what the queue still had after the run; None if the run did not come to that.
        job_errors: the errors in the logs of processes that name a job.
        pooler_messages: what a pooler complained of; empty if there was none.
        cache_forms: in which forms a store held values; empty if the run did not look.
        service_calls: by service, the access log of its balancer.
        profiles: by version, what was found out about its server before the run, as the JSON of a
            probe's profile; empty where no version asked for it.
        scratch: where a judgement keeps what it needs again later.
        workers: who reads the records.
    """

    manifest: Manifest
    requests: Iterable[Outcome]
    counted: Iterable[CountedRequests] = ()
    events: Iterable[Event] = ()
    ticks: Iterable[Tick] = ()
    mails: Iterable[Mail] = ()
    exchanges: Iterable[ExchangeRecord] = ()
    subjects_before: Iterable[Subject] | None = None
    subjects_after: Iterable[Subject] | None = None
    lock_waits: Iterable[LockWait] | None = None
    server_lines: Iterable[ServerLine] | None = ()
    backend_changes: Iterable[BackendChange] = ()
    cluster_changes: Iterable[ClusterChange] = ()
    machine_samples: Iterable[MachineSample] = ()
    logged_errors: Iterable[LoggedError] = ()
    session_clients: Iterable[SessionClient] = ()
    reads: Iterable[Read] = ()
    jobs: Iterable[JobEvent] | None = None
    stored_jobs: Iterable[StoredJob] | None = None
    job_errors: Iterable[JobError] = ()
    cache_forms: Iterable[CacheForm] = ()
    pooler_messages: Iterable[PoolerMessage] = ()
    service_calls: Mapping[str, Iterable[ExchangeRecord]] = field(default_factory=dict)
    profiles: Mapping[str, bytes] = field(default_factory=dict)
    scratch: Scratch = field(default_factory=MemoryScratch)
    workers: Workers = field(default_factory=OneProcess)
