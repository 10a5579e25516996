"""The description of a run and its outcome: `run.json`, written once at the end of the run."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from scenarios.errors import EvidenceError
from scenarios.evidence.control_run import ControlRun, Role
from scenarios.evidence.generator_facts import GeneratorFacts
from scenarios.evidence.jobs import JobSettings, ProcessSet
from scenarios.evidence.leaving import LeavingSettings, RequestHandling
from scenarios.evidence.service_facts import ServiceFacts

SCHEMA = 1
"""The version of `run.json` that this hitless writes, and the newest that it reads."""

PREDICTED = "simulated"
"""The platform of a run in virtual time: what it says is predicted, not measured."""

Outcome = Literal["completed", "rolled_back", "aborted", "failed"]


class Objectives(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits that the run must meet.

    Attributes:
        failed_requests: how many requests may fail.
        latency_seconds: a request is slow if it takes longer than this, from its planned time.
        slow_requests: how many requests may be slow. Default: no limit; slow requests are only
            reported.
        availability: the share of requests that must succeed, such as 0.999. Default: no limit.
        longest_outage_seconds: the longest outage that is allowed, by its lower bound. Default: no
            limit.
        lock_wait_seconds: how long a session of the application may wait for a lock. Default: no
            limit.
        missed_messages: how many messages clients that reconnect may miss.
        reconnect_seconds: how long a client that reconnects may be without a connection. Default:
            no limit.
        termination: whether each replica must stop when it is asked: it must not be killed after
            its grace period, and the stop signal must reach the process that listens.
        fresh_start: whether a version that serves must be able to start after each migration. One
            replica of it is started away from the traffic, and its `readiness_path` is requested.
            Without that path, nobody can tell.
        same_answers: whether JSON answers must keep what they had before the release: each value,
            and its type. Set it to false if the release removes something from an answer on
            purpose.
        schedule_lag_p99_seconds: the highest allowed p99 lag of the load generator. Above it, the
            generator was the bottleneck, and the run is invalid.
        schedule_lag_max_seconds: the longest allowed stall of the load generator. A longer stall
            hides what happened in that time, so the run is invalid.
    """

    failed_requests: int = 0
    latency_seconds: float = 1.0
    slow_requests: int | None = None
    availability: float | None = None
    longest_outage_seconds: float | None = None
    lock_wait_seconds: float | None = None
    missed_messages: int = 0
    reconnect_seconds: float | None = None
    termination: bool = True
    fresh_start: bool = True
    same_answers: bool = True
    schedule_lag_p99_seconds: float = 0.1
    schedule_lag_max_seconds: float = 0.4


class _Head(msgspec.Struct, frozen=True):
    """What every version of `run.json` says."""

    schema: int = SCHEMA
    hitless: str = ""


class ClusterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of which cluster a run looked at.

    Attributes:
        server: the address of its API.
        version: the version of its API server.
        namespace: the namespace.
        deployment: the Deployment that served; absent: every one of the namespace.
        unseen: what it was not allowed to look at, or what the cluster does not have.
        versions: by image of a pod, without its registry, the version of the release; absent where
            only images are known.
    """

    server: str
    version: str
    namespace: str
    deployment: str | None = None
    unseen: tuple[str, ...] = ()
    versions: Mapping[str, str] = msgspec.field(default_factory=dict)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a run and its outcome.

    Attributes:
        scenario: the name of the scenario.
        strategy: the deployment strategy.
        platform: where the replicas ran, such as `local`; `simulated`: in virtual time.
        router: the router, such as `hitless`.
        router_version: its name and version, such as `HAProxy 2.8.25`.
        router_config: the path of the user's own configuration of it; absent if it had ours.
        router_lacks: what the router cannot do, one sentence each.
        seed: the seed of all random numbers.
        replicas: how many replicas each version should have.
        rate: the arrivals per second that the scenario asked for; 0 if all users stay.
        existing_rows: how many rows were in the database before the run.
        versions: the versions of the release in order; the first one served before the release.
        states: the states of a subject, in the order in which it moves through them.
        confirmed_state: the state of a subject after a successful confirmation.
        confirm_endpoint: the endpoint whose success promises that state.
        subject_endpoint: the endpoint whose success promises that the subject exists.
        expected_outcome: how the release should end.
        outcome: how it ended.
        outcome_reason: why, when it is not `completed`.
        objectives: the limits that the run must meet.
        replay: the command that repeats the run.
        hitless: the version of this program.
        started_at: wall-clock time, ISO 8601, for people only.
        interrupted: whether the run was cut short by a signal.
        faults: the planned faults.
        database: the name of the application's database, which tells its messages in the server's
            log from those of other databases; absent without a database, and in older manifests.
        persona: the platform whose defaults `termination` starts from; absent if there is none.
        termination: how replicas were started and stopped; absent if the run did not decide it.
        handling: how our own balancer handled requests; absent with another router.
        role: whether this is a release, or the control run of one.
        control: the control run with which the release is compared; absent if there was none.
        protocols: how many requests were sent over which version of HTTP, where the service could
            choose it.
        processes: the sets of processes that ran beside the web.
        jobs: how the run looked at jobs; absent if it did not.
        services: the services behind the application.
        cluster: which part of which cluster the run looked at; absent if it looked at none.
        generators: the load generators elsewhere; empty if the load came from this machine.
        files: the SHA-256 of each evidence file, by name; it shows whether a file is damaged.
    """

    schema: int = SCHEMA
    scenario: str
    strategy: str
    platform: str
    router: str
    seed: int
    replicas: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
    rate: float
    existing_rows: int
    versions: tuple[str, ...]
    states: tuple[str, ...] = ()
    confirmed_state: str | None = None
    confirm_endpoint: str | None = None
    subject_endpoint: str | None = None
    expected_outcome: Outcome = "completed"
    outcome: Outcome
    outcome_reason: str | None = None
    objectives: Objectives = Objectives()
    replay: str
    hitless: str
    started_at: str
    interrupted: bool = False
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)
    faults: tuple[str, ...] = ()
    database: str | None = None
    router_version: str | None = None
    router_config: str | None = None
    router_lacks: tuple[str, ...] = ()
    persona: str | None = None
    termination: LeavingSettings | None = None
    handling: RequestHandling | None = None
    role: Role = "release"
    control: ControlRun | None = None
    protocols: Mapping[str, int] = msgspec.field(default_factory=dict)
    processes: tuple[ProcessSet, ...] = ()
    jobs: JobSettings | None = None
    services: tuple[ServiceFacts, ...] = ()
    cluster: ClusterSettings | None = None
    generators: tuple[GeneratorFacts, ...] = ()
    files: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def predicted(self) -> bool:
        """Whether the run took place in virtual time."""
        return self.platform == PREDICTED


def this_machine() -> dict[str, str]:
    """The description of this machine in a manifest."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
    }


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write `run.json`."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def read_manifest(path: Path) -> Manifest:
    """Read `run.json`.

    Raises:
        EvidenceError: the file is missing, not a Manifest, or of a newer version of hitless.
    """
    try:
        content = path.read_bytes()
        head = msgspec.json.decode(content, type=_Head)
        if head.schema > SCHEMA:
            raise EvidenceError(
                f"{path}: its schema is {head.schema}, and this hitless reads up to {SCHEMA}; use "
                f"the version that wrote it ({head.hitless or 'a newer one'})"
            )
        return msgspec.json.decode(content, type=Manifest)
    except OSError as error:
        raise EvidenceError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise EvidenceError(f"{path}: {error}") from error
