"""What a run was: `run.json`, written once at its end, from what was asked and what happened."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from scenarios.errors import EvidenceError
from scenarios.evidence.leaving import LeavingSettings, RequestHandling

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
        termination: whether each replica must stop when it is asked: it must not be killed after
            its grace period, and the stop signal must reach the process that listens.
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
    termination: bool = True
    schedule_lag_p99_seconds: float = 0.1
    schedule_lag_max_seconds: float = 0.4


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What was run.

    Attributes:
        scenario: its name.
        strategy: the deployment strategy.
        platform: where the replicas ran, such as `local`.
        router: who balanced, such as `hitless`.
        router_version: what it calls itself, such as `HAProxy 2.8.25`.
        router_config: the user's own configuration of it; absent: ours.
        router_lacks: what it cannot do, one sentence each.
        seed: of all randomness of the run.
        replicas: how many of them serve.
        rate: arrivals a second that were asked for; 0 where all users stay.
        existing_rows: rows that were in the database before the run.
        versions: the versions of the release in order, the first one served before it.
        states: the states that a subject can have, in the order in which it moves through them.
        confirmed_state: the state of a subject whose confirmation was answered with success.
        confirm_endpoint: the endpoint whose success promises that state.
        subject_endpoint: the endpoint whose success promises that the subject is there.
        expected_outcome: how the release should end.
        outcome: how it ended.
        outcome_reason: why, when it is not `completed`.
        objectives: what it is judged by.
        replay: the command that runs the same again.
        hitless: the version of this program.
        started_at: wall-clock time, ISO 8601, for people only.
        interrupted: whether the run was cut short by a signal.
        faults: the faults that were to be made.
        database: the name of the application's database, so that what the server says of others is
            told from what it says of this one; absent where there is none, or nobody wrote it down.
        persona: the platform whose defaults `termination` starts from; absent: none.
        termination: how replicas left and came; absent where the run did not decide it.
        handling: what our own balancer did with requests; absent behind another router.
        files: the SHA-256 of each evidence file, by name, so that a damaged one is noticed.
    """

    schema: int = 1
    scenario: str
    strategy: str
    platform: str
    router: str
    seed: int
    replicas: int
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
    files: Mapping[str, str] = msgspec.field(default_factory=dict)


def this_machine() -> dict[str, str]:
    """What a manifest says of where the run happened."""
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
        EvidenceError: the file is missing or not a Manifest.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise EvidenceError(f"{path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise EvidenceError(f"{path}: {error}") from error
