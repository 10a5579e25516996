"""The verdict as data: `verdict.json`, schema version 1.

Durations and instants are seconds; an instant counts from the run's origin, which is the planned
time of its first request. `docs/evidence.md` says what each number means and where its formula
comes from. The parts of a verdict are in modules of their own; import all of them from here.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from scenarios.evidence.leaving import LeavingSettings, RequestHandling
from scenarios.exit_status import ExitStatus
from scenarios.verdict.model.advice import Advice, Undrained
from scenarios.verdict.model.answer_changes import AnswerChange, AnswerComparison
from scenarios.verdict.model.cache_change import CacheChange
from scenarios.verdict.model.called_service import ServiceCalled, ServiceVersionCalls
from scenarios.verdict.model.causes import (
    NO_UPSTREAM,
    Cause,
    CauseEvidence,
    CauseKind,
    Confidence,
    FailedRequest,
)
from scenarios.verdict.model.control_comparison import ControlComparison, ControlRow
from scenarios.verdict.model.data import Integrity, Invariant, Violation
from scenarios.verdict.model.generators import GeneratorSummary
from scenarios.verdict.model.jobs import JobCauseFound, JobFinding, Jobs, JobStop
from scenarios.verdict.model.locks import Blocker, Locks, Rewrite
from scenarios.verdict.model.measures import (
    Availability,
    Downtime,
    Latency,
    Requests,
    Slots,
    SlowRequest,
)
from scenarios.verdict.model.pooler import PoolerComplaint
from scenarios.verdict.model.probed import ProbedVersion
from scenarios.verdict.model.reconnects import Streams
from scenarios.verdict.model.replica_end import ReplicaEnd
from scenarios.verdict.model.rescued import Rescued

__all__ = [
    "NO_UPSTREAM",
    "SCHEMA",
    "Advice",
    "AnswerChange",
    "AnswerComparison",
    "Availability",
    "Blocker",
    "Budget",
    "CacheChange",
    "Cause",
    "CauseEvidence",
    "CauseKind",
    "Check",
    "Confidence",
    "ControlComparison",
    "ControlRow",
    "Downtime",
    "FailedRequest",
    "GeneratorSummary",
    "Harness",
    "Integrity",
    "Invariant",
    "JobCauseFound",
    "JobFinding",
    "JobStop",
    "Jobs",
    "Latency",
    "Locks",
    "Phase",
    "PoolerComplaint",
    "ProbedVersion",
    "ReplicaEnd",
    "Requests",
    "Rescued",
    "Rewrite",
    "Rollout",
    "ServiceCalled",
    "ServiceVersionCalls",
    "Slots",
    "SlowRequest",
    "Streams",
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

SCHEMA = 1
"""The version of `verdict.json` that this hitless writes, and the newest that it reads."""

Word = Literal["pass", "fail", "invalid"]

_EXIT_STATUS: Mapping[Word, ExitStatus] = {
    "pass": ExitStatus.PASS,
    "fail": ExitStatus.FAIL,
    "invalid": ExitStatus.INVALID,
}


class Harness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the load generator kept up with its own schedule.

    Attributes:
        schedule_lag_p99: how late requests were sent: the 99th percentile, in seconds.
        schedule_lag_max: how late the latest request was sent, in seconds.
        cpu_max: the generator's highest processor share over a second; 1.0 is saturated.
        undispatched: how many planned requests the generator could not send.
        generators: the generators, if there were several elsewhere.
    """

    schedule_lag_p99: float | None
    schedule_lag_max: float | None
    cpu_max: float | None
    undispatched: int
    generators: tuple[GeneratorSummary, ...] = ()


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
        name: the objective in words, such as `three nines (99.9 %)`.
        downtime_a_year_seconds: the downtime that the objective allows in a year of 365.25 days.
        allowed: how many requests of this run may fail: (1 - objective) · requests.
        failed: how many requests of this run failed.
        spent: failed / allowed; above 1 the run alone broke the objective.
        month: failed / the number of requests that may fail in 30 days at the run's rate.
    """

    objective: float
    name: str
    downtime_a_year_seconds: float
    allowed: float
    failed: int
    spent: float | None
    month: float | None


class WindowedUptime(msgspec.Struct, frozen=True, kw_only=True):
    """The worst period of a given length.

    Attributes:
        seconds: the length.
        worst: the lowest availability in any period of this length: the share of requests that
            succeeded, or the share of the users' time in which the service was up.
        start: when the first of the worst periods began.
    """

    seconds: float
    worst: float
    start: float


class WorstUser(msgspec.Struct, frozen=True, kw_only=True):
    """The user for whom the service was up least; an average hides a user who met only the outage.

    Attributes:
        user: the user's name in the evidence; of several equal ones, the first.
        uptime: the user's time up / (time up + time down).
        down_seconds: the user's time down.
    """

    user: str
    uptime: float
    down_seconds: float


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """Availability as users saw it (user-uptime: Hauer and others, NSDI 2020).

    Attributes:
        staying: true: the numbers are of users who stayed for the whole run. False: there are no
            such users, and the numbers are of the users that requests were about; a user who gave
            up after a failure then hardly counts.
        users: how many users made more than one request.
        uptime: the sum of the users' time up / the sum of their time up and down. From one request
            of a user to the next, the service counts as up if the first one succeeded. Absent
            if no user made more than one request.
        windows: the worst period of each length, by all requests; they tell one long outage from
            many short ones.
        uptime_windows: the worst period of each length, by the time of users who stayed.
        worst: the user who stayed and for whom the service was up least; absent if nobody stayed.
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
            `lock_wait`, `termination`, `integrity`, `jobs`, `missed_messages`, `reconnect`,
            `outcome`.
        title: the objective in words.
        held: whether the run met it; absent if this run cannot tell.
        sentence: the result, with its number and its limit.
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
        floor_seconds: the part of that time which no orchestrator could have saved.
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
        reasons: why: one sentence for each reason, with its number and its limit.
        checks: the objectives one by one; a run fails if it missed one.
        doubts: what did not decide, and should be known: what would have made the run invalid if
            it had not failed for other reasons, and steps of the release that changed nothing.
        limits: what the run could not have detected.
        interrupted: whether the run was cut short by a signal.
        replicas: how many replicas each version should have.
        rate: the arrivals per second that the scenario asked for; 0 if all users stay.
        existing_rows: how many rows were in the database before the run.
        seconds: from the first to the last planned request.
        origin_ns: the instant 0.0 on the machine's monotonic clock, which the evidence files use.
        replay: the command that repeats the run.
        hitless: the version of the program that ran it.
        started_at: wall-clock time, for people only.
        unattributed: failed requests of which only the symptom is known.
        slow_causes: why requests took longer than the latency objective.
        locks: which sessions of the database waited for which others.
        budget: how much of the error budget was spent.
        users: availability as users saw it.
        predicted: whether the run took place in virtual time, so that nothing was measured.
        persona: the platform whose defaults the run used to start and stop replicas; absent if it
            used none.
        termination: how replicas were started and stopped; absent if the run did not decide it.
        protocols: how many requests were sent over which version of HTTP, where the service could
            choose it.
        handling: how our own balancer handled requests; absent with another router.
        replica_ends: how each replica ended.
        probed: what was found out about the servers of versions before the run.
        advice: the settings that would have saved requests which met stopped replicas.
        rescued: the requests that only the balancer saved.
        control: how the release compares with its control run; absent if there was none.
        jobs: what became of the application's jobs; absent if the run did not look at them.
        streams: what became of clients that stay connected and reconnect.
        services: the services behind the application, and how their calls ended.
        cache: keys of a store whose values changed their form during the release.
        answers: whether JSON answers kept their values and the types of these.
        pooler: what the pooler between the application and Postgres complained of.
    """

    schema: int = SCHEMA
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
    predicted: bool = False
    persona: str | None = None
    replica_ends: tuple[ReplicaEnd, ...] = ()
    probed: tuple[ProbedVersion, ...] = ()
    termination: LeavingSettings | None = None
    protocols: Mapping[str, int] = msgspec.field(default_factory=dict)
    handling: RequestHandling | None = None
    advice: tuple[Advice, ...] = ()
    rescued: Rescued = Rescued()
    control: ControlComparison | None = None
    jobs: Jobs | None = None
    streams: Streams = Streams()
    services: tuple[ServiceCalled, ...] = ()
    cache: tuple[CacheChange, ...] = ()
    answers: AnswerComparison = AnswerComparison()
    pooler: tuple[PoolerComplaint, ...] = ()

    @property
    def cause_ids(self) -> tuple[str, ...]:
        """The ids of all causes: of failed and slow requests, of jobs, and of missed messages.

        Broken promises about data are `data:` and the invariant; changed answers have one, too.

        Causes of jobs that the scenario accepts are left out.
        """
        jobs = () if self.jobs is None else self.jobs.causes
        return (
            *(cause.cause for cause in (*self.causes, *self.slow_causes)),
            *(one.cause for one in jobs if not one.accepted),
            *(("stream:missed",) if self.streams.missed else ()),
            *(f"data:{one.invariant}" for one in self.integrity.invariants if one.violations),
            *(("answer_changed",) if self._answers_broken else ()),
        )

    @property
    def _answers_broken(self) -> bool:
        return any(check.check == "answers" and check.held is False for check in self.checks)

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
        msgspec.DecodeError: they are not a verdict.
    """
    return msgspec.json.decode(data, type=Verdict)
