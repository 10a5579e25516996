"""The verdict as data: `verdict.json`, schema version 1.

Durations and instants are seconds; an instant counts from the run's origin, which is the planned
time of its first request. `docs/evidence.md` says what each number means and where its formula
comes from.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

Word = Literal["pass", "fail", "invalid"]
Confidence = Literal["certain", "likely", "symptom"]

EXIT_STATUS: Mapping[Word, int] = {"pass": 0, "fail": 1, "invalid": 3}
INTERRUPTED_STATUS = 130


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the planned requests: `planned = ok + failed + undispatched`.

    Attributes:
        planned: what the schedule wanted.
        ok: those that got a complete response with an expected status.
        failed: those that were sent and did not.
        slow: those that are ok but took longer than the latency objective.
        undispatched: those that the generator could not send.
        unknown: failed ones that may have taken effect, such as a POST that timed out.
    """

    planned: int = 0
    ok: int = 0
    failed: int = 0
    slow: int = 0
    undispatched: int = 0
    unknown: int = 0


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """The run cut into equal slots of time.

    Attributes:
        seconds: the length of one.
        good: slots in which every request succeeded.
        bad: slots in which one did not.
        no_data: slots without any request: neither good nor bad.
    """

    seconds: float
    good: int
    bad: int
    no_data: int


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """How available the service was, and how much of that is known.

    Attributes:
        text: the same for people; never says 100 %.
        request_based: ok / (ok + failed); absent without requests.
        time_based: good slots / (good + bad slots); absent without requests.
        failure_rate_upper_95: the exact one-sided 95 % upper bound of the failure rate.
        smallest_detectable_outage_seconds: an outage of every replica this long meets a request
            with 95 % probability; a shorter one may have gone unseen.
        smallest_detectable_outage_one_replica_seconds: the same for one replica of the set.
        slots: what `time_based` is computed from.
    """

    text: str
    request_based: float | None
    time_based: float | None
    failure_rate_upper_95: float
    smallest_detectable_outage_seconds: float | None
    smallest_detectable_outage_one_replica_seconds: float | None
    slots: Slots


class SlowRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One of the slowest requests.

    Attributes:
        request_id: which.
        endpoint: what it asked for.
        at: its planned time.
        seconds: its latency from that time.
        ok: whether it succeeded in the end.
        replica: who answered, when known.
        step: what the rollout was doing when it was planned.
    """

    request_id: str
    endpoint: str
    at: float
    seconds: float
    ok: bool
    replica: str | None
    step: str


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Exact percentiles, by nearest rank, of every request that was sent, from its planned time."""

    p50: float | None
    p99: float | None
    p999: float | None
    max: float | None
    slowest: tuple[SlowRequest, ...] = ()


class Downtime(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of failures, by the planned times of the requests.

    What is known: it lasted from `start` to `end_lower`. What is possible: from `start_earliest`
    to `end_upper`.

    Attributes:
        start: the first failed request.
        start_earliest: the last good one before; absent when there was none.
        end_lower: the last failed request.
        end_upper: the first good one after; absent when there was none.
        seconds_lower: `end_lower - start`.
        seconds_upper: `end_upper - start_earliest`; absent when either is.
        peak_error_ratio: the highest share of failures among ten requests in a row: 1.0 is a full
            outage.
        failed: failed requests in it.
        requests: all requests from `start` to `end_lower`.
        endpoint: of which requests; absent when all of the run's are meant.
        connection: the same for the kind of connection.
    """

    start: float
    start_earliest: float | None
    end_lower: float
    end_upper: float | None
    seconds_lower: float
    seconds_upper: float | None
    peak_error_ratio: float
    failed: int
    requests: int
    endpoint: str | None = None
    connection: str | None = None


class FailedRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One failed request, with everything that the evidence says of it.

    Attributes:
        request_id: which.
        at: its planned time.
        seconds: from then until its outcome was known.
        endpoint: what it asked for.
        connection: `new` or `reused`.
        journey: the user story that it belongs to.
        step: what the rollout was doing.
        schema: the last migration that had completed.
        replica: who answered or was asked.
        version: of that replica.
        status: of the response.
        error: the transport error, when there is no response.
        error_detail: its own words.
        proxy_status: why the balancer answered by itself.
        sqlstate: what Postgres refused.
        problem: the application's own words.
        attempts: how often the balancer tried, from its access log.
        end: why the exchange ended, from the same.
    """

    request_id: str
    at: float
    seconds: float
    endpoint: str
    connection: str
    journey: str
    step: str
    schema: str | None = None
    replica: str | None = None
    version: str | None = None
    status: int | None = None
    error: str | None = None
    error_detail: str | None = None
    proxy_status: str | None = None
    sqlstate: str | None = None
    problem: str | None = None
    attempts: int | None = None
    end: str | None = None


class CauseEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the failures of one cause have in common; each mapping counts them, most first.

    Attributes:
        requests: the request ids of all of them, by planned time; of more than a thousand, the
            first thousand.
        first: the planned time of the first.
        last: the planned time of the last.
        replicas: by replica, where one is known.
        versions: by version, where one is known.
        endpoints: by endpoint.
        connections: by kind of connection.
        steps: by what the rollout was doing.
        schemas: by the last completed migration, where there was one.
        examples: the first of them in full.
        contributing: what else was going on around them, by how many it may have touched: rules of
            the ladder that would have matched as well, migrations, faults.
        note: what else the evidence shows.
    """

    requests: tuple[str, ...]
    first: float
    last: float
    replicas: Mapping[str, int]
    versions: Mapping[str, int]
    endpoints: Mapping[str, int]
    connections: Mapping[str, int]
    steps: Mapping[str, int]
    schemas: Mapping[str, int]
    examples: tuple[FailedRequest, ...]
    contributing: Mapping[str, int] = msgspec.field(default_factory=dict)
    note: str | None = None


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why some requests failed, or why some took too long.

    Attributes:
        cause: its id, such as `no_backend` or `sqlstate:23502`; those of its requests that are
            explained and those that are not are two causes, of different confidence.
        title: the same for people.
        confidence: `certain` when a party that knows said so, `likely` when time and place join
            the failure to an event, `symptom` when only the symptom is known.
        count: failed requests that have this cause; more than `evidence.requests` lists, where
            that was cut.
        evidence: what shows it.
    """

    cause: str
    title: str
    confidence: Confidence
    count: int
    evidence: CauseEvidence


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One subject for which an invariant does not hold.

    Attributes:
        invariant: the invariant's id.
        subject: whom it is about.
        expected: what should be.
        found: what is.
        requests: the requests about the subject, in order.
        replicas: who answered them.
    """

    invariant: str
    subject: str
    expected: str
    found: str
    requests: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()


class Invariant(msgspec.Struct, frozen=True, kw_only=True):
    """One promise about the data.

    Attributes:
        invariant: its id.
        title: the promise.
        checked: to how many subjects it applied.
        violations: for how many it did not hold.
    """

    invariant: str
    title: str
    checked: int
    violations: int


class Integrity(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the data.

    Attributes:
        status: `held`; `violated`; `unknown` when no request promised anything; `unchecked` when
            the database was not read.
        checked: subjects that were checked.
        unknown: subjects whose requests may or may not have taken effect.
        recovered: those of them that are there.
        violation_count: all violations.
        violations: the first of them for each invariant.
        invariants: what was checked.
    """

    status: Literal["held", "violated", "unknown", "unchecked"]
    checked: int = 0
    unknown: int = 0
    recovered: int = 0
    violation_count: int = 0
    violations: tuple[Violation, ...] = ()
    invariants: tuple[Invariant, ...] = ()


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


class Blocker(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A session for whose locks the application waited: the root, not the next in the queue.

    Attributes:
        application: its `application_name`.
        during: the migration or fault that was under way, else what the rollout was doing.
        query: what it ran, or ran last.
        state: its state, such as `idle in transaction`.
        mode: the lock that was waited for most.
        relation: the table that it is on, where there is one.
        waits: how many waits of the application it caused.
        seconds: the longest of them.
        first: when the first began.
        last: when the last was last seen.
        requests: how many requests it delayed.
        slowest: the latency of the slowest of those.
        examples: the first of those.
    """

    application: str
    during: str
    query: str | None = None
    state: str | None = None
    mode: str
    relation: str | None = None
    waits: int
    seconds: float
    first: float
    last: float
    requests: int = 0
    slowest: float | None = None
    examples: tuple[str, ...] = ()


class Rewrite(msgspec.Struct, frozen=True, kw_only=True):
    """A table that was written anew, under ACCESS EXCLUSIVE, as some migrations demand.

    Attributes:
        table: which.
        during: the migration that ran.
        at: when it was seen.
    """

    table: str
    during: str
    at: float


class Locks(msgspec.Struct, frozen=True, kw_only=True):
    """Who waited for whom in the database.

    Attributes:
        watched: whether anybody looked.
        waits: how often a session of the application waited for a lock.
        longest: the longest of these waits in seconds; absent without any.
        requests: how many requests spent at least half of their time so.
        blockers: whom they waited for, the one that delayed most requests first.
        deadlocks: transactions that Postgres gave up for a deadlock (40P01).
        gave_way: tries of migrations that gave up waiting for their lock (55P03).
        rewrites: tables that were written anew.
        invalid_indexes: indexes that a failed build left behind.
    """

    watched: bool = False
    waits: int = 0
    longest: float | None = None
    requests: int = 0
    blockers: tuple[Blocker, ...] = ()
    deadlocks: int = 0
    gave_way: int = 0
    rewrites: tuple[Rewrite, ...] = ()
    invalid_indexes: tuple[str, ...] = ()


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

    @property
    def exit_status(self) -> int:
        """The exit status that says the same: 0 pass, 1 fail, 3 invalid, 130 interrupted."""
        return INTERRUPTED_STATUS if self.interrupted else EXIT_STATUS[self.verdict]


def encode(verdict: Verdict) -> bytes:
    """The bytes of `verdict.json`; the same verdict gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(verdict), indent=2) + b"\n"


def decode(data: bytes) -> Verdict:
    """Read the bytes of a `verdict.json`.

    Raises:
        msgspec.DecodeError: they are not one.
    """
    return msgspec.json.decode(data, type=Verdict)
