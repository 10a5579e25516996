"""The verdict as data: `verdict.json`, schema version 1.

Durations and instants are seconds; an instant counts from the run's origin, which is the planned
time of its first request. `docs/evidence.md` says what each number means and where its formula
comes from. What it is made of is told in files of its own, and can all be had from here.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from scenarios.evidence.leaving import LeavingSettings, RequestHandling
from scenarios.exit_status import ExitStatus
from scenarios.verdict.model.advice import Advice, Undrained
from scenarios.verdict.model.causes import (
    Cause,
    CauseEvidence,
    CauseKind,
    Confidence,
    FailedRequest,
)
from scenarios.verdict.model.data import Integrity, Invariant, Violation
from scenarios.verdict.model.locks import Blocker, Locks, Rewrite
from scenarios.verdict.model.measures import (
    Availability,
    Downtime,
    Latency,
    Requests,
    Slots,
    SlowRequest,
)
from scenarios.verdict.model.replica_end import ReplicaEnd
from scenarios.verdict.model.rescued import Rescued

__all__ = [
    "Advice",
    "Availability",
    "Blocker",
    "Budget",
    "Cause",
    "CauseEvidence",
    "CauseKind",
    "Check",
    "Confidence",
    "Downtime",
    "FailedRequest",
    "Harness",
    "Integrity",
    "Invariant",
    "Latency",
    "Locks",
    "Phase",
    "ReplicaEnd",
    "Requests",
    "Rescued",
    "Rewrite",
    "Rollout",
    "Slots",
    "SlowRequest",
    "Undrained",
    "Users",
    "Verdict",
    "VersionShare",
    "Violation",
    "WindowedUptime",
    "Word",
    "WorstUser",
    "decode",
    "encode",
]

Word = Literal["pass", "fail", "invalid"]

_EXIT_STATUS: Mapping[Word, ExitStatus] = {
    "pass": ExitStatus.PASS,
    "fail": ExitStatus.FAIL,
    "invalid": ExitStatus.INVALID,
}


class Harness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the load generator kept up with its own schedule.

    Attributes:
        schedule_lag_p99: how late requests were sent, 99th percentile, in seconds.
        schedule_lag_max: the worst.
        cpu_max: the generator's highest processor share over a second; 1.0 is saturated.
        undispatched: requests that it could not send.
    """

    schedule_lag_p99: float | None
    schedule_lag_max: float | None
    cpu_max: float | None
    undispatched: int


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One phase of the run, and the requests planned in it."""

    name: str
    start: float
    end: float
    requests: Requests
    latency: Latency


class VersionShare(msgspec.Struct, frozen=True, kw_only=True):
    """The requests that one version answered."""

    version: str
    requests: int
    failed: int


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the failures that an objective allows this run has used.

    Attributes:
        objective: the share of requests that must succeed.
        name: the same in words, such as `three nines (99.9 %)`.
        downtime_a_year_seconds: what it allows in a year of 365.25 days.
        allowed: how many requests of this run may fail: (1 - objective) · requests.
        failed: how many did.
        spent: failed / allowed; above 1 the run alone broke the objective.
        month: failures as a share of what it allows in 30 days at the run's rate.
    """

    objective: float
    name: str
    downtime_a_year_seconds: float
    allowed: float
    failed: int
    spent: float | None
    month: float | None


class WindowedUptime(msgspec.Struct, frozen=True, kw_only=True):
    """The worst stretch of a given length.

    Attributes:
        seconds: the length.
        worst: the lowest share, of good requests or of users' time up, in any such stretch.
        start: when the first of the worst stretches began.
    """

    seconds: float
    worst: float
    start: float


class WorstUser(msgspec.Struct, frozen=True, kw_only=True):
    """Who saw least of the service: an average hides a user who met nothing but the outage.

    Attributes:
        user: who, as in the evidence; the first of them where several saw as little.
        uptime: that user's time up over its time up and down.
        down_seconds: its time down.
    """

    user: str
    uptime: float
    down_seconds: float


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """Availability as users saw it (user-uptime: Hauer and others, NSDI 2020).

    Attributes:
        staying: whether these are users who stayed for the whole run; else they are whom requests
            were about, and who came no more once one had failed is hardly seen.
        users: how many made more than one request.
        uptime: the sum of their time up over the sum of their time up and down: between two of
            a user's requests the first one's outcome holds; absent without such users.
        windows: by length, the worst availability by requests, of all of them: tells one long
            outage from many short ones.
        uptime_windows: by length, the worst availability by the time of users who stayed.
        worst: the user who stayed and was up least; absent without such users.
    """

    staying: bool = False
    users: int = 0
    uptime: float | None = None
    windows: tuple[WindowedUptime, ...] = ()
    uptime_windows: tuple[WindowedUptime, ...] = ()
    worst: WorstUser | None = None

    @property
    def stayed(self) -> int:
        """How many users stayed."""
        return self.users if self.staying else 0


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One objective of the run.

    Attributes:
        check: its id: `failed_requests`, `availability`, `slow_requests`, `longest_outage`,
            `lock_wait`, `integrity`, `outcome`.
        title: what should be.
        held: whether it is so; absent when this run cannot tell.
        sentence: what is, with its number and its limit.
    """

    check: str
    title: str
    held: bool | None
    sentence: str


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """How the release went.

    Attributes:
        outcome: how it ended.
        expected: how it should have ended.
        reason: why, when it is not `completed`.
        seconds: how long it took.
        floor_seconds: how much of that no orchestrator could have saved.
    """

    outcome: str
    expected: str
    reason: str | None
    seconds: float | None
    floor_seconds: float | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a run means.

    Attributes:
        schema: the version of this format.
        verdict: `pass`, `fail`, or `invalid`: the run says nothing about the release.
        reasons: why, in sentences, each with its number and its limit.
        checks: the objectives one by one; `fail` comes from those that did not hold.
        doubts: what would have made the run invalid, had it not failed for other reasons.
        limits: what the run could not have seen.
        interrupted: whether the run was cut short by a signal.
        replicas: how many replicas were to serve.
        rate: the arrivals a second that were asked for; 0 where all users stay.
        existing_rows: rows that were in the database before the run.
        seconds: from the first to the last planned request.
        origin_ns: the instant 0.0 on the machine's monotonic clock: joins with the evidence files.
        replay: the command that runs the same again.
        hitless: the version of the program that ran it.
        started_at: wall-clock time, for people only.
        unattributed: failed requests of which only the symptom is known.
        slow_causes: why requests took longer than the latency objective.
        locks: who waited for whom in the database.
        budget: how much of the error budget was spent.
        users: availability as users saw it.
        persona: the platform whose defaults replicas left and came by; absent: none.
        termination: how replicas left and came; absent where the run did not decide it.
        handling: what our own balancer did with requests; absent behind another router.
        replica_ends: how each replica ended.
        advice: the settings that would have covered requests which met stopped replicas.
        rescued: what the balancer saved.
    """

    schema: int = 1
    verdict: Word
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    doubts: tuple[str, ...]
    limits: tuple[str, ...]
    scenario: str
    strategy: str
    platform: str
    router: str
    seed: int
    replicas: int
    rate: float
    existing_rows: int
    interrupted: bool
    seconds: float
    origin_ns: int
    rollout: Rollout
    requests: Requests
    availability: Availability
    latency: Latency
    downtime: tuple[Downtime, ...]
    downtime_by_endpoint: tuple[Downtime, ...]
    causes: tuple[Cause, ...]
    integrity: Integrity
    harness: Harness
    phases: tuple[Phase, ...]
    versions: tuple[VersionShare, ...]
    replay: str
    hitless: str
    started_at: str
    unattributed: int = 0
    slow_causes: tuple[Cause, ...] = ()
    locks: Locks = Locks()
    budget: Budget | None = None
    users: Users = Users()
    persona: str | None = None
    replica_ends: tuple[ReplicaEnd, ...] = ()
    termination: LeavingSettings | None = None
    handling: RequestHandling | None = None
    advice: tuple[Advice, ...] = ()
    rescued: Rescued = Rescued()

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status of a command that reached this verdict."""
        return ExitStatus.INTERRUPTED if self.interrupted else _EXIT_STATUS[self.verdict]


def encode(verdict: Verdict) -> bytes:
    """The bytes of `verdict.json`; the same verdict gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(verdict), indent=2) + b"\n"


def decode(data: bytes) -> Verdict:
    """Read the bytes of a `verdict.json`.

    Raises:
        msgspec.DecodeError: they are not one.
    """
    return msgspec.json.decode(data, type=Verdict)
