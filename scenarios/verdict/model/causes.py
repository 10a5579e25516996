"""Why requests failed or were slow, and which evidence shows it."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from scenarios.verdict.model.advice import Undrained

Confidence = Literal["certain", "likely", "symptom"]

CauseKind = Literal[
    "harness",
    "machine",
    "no_backend",
    "lifecycle",
    "statement",
    "lock",
    "database",
    "balancer",
    "mixed_fleet",
    "service",
    "application",
    "transport",
    "answer",
    "slow",
    "unknown",
]
"""The mechanism by which requests failed or were slow. Only older verdicts have `unknown`."""


NO_UPSTREAM = "the proxy had no live upstream"
"""The title of `no_backend` where the log of a watched service's proxy says so."""


class FailedRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One failed request, with everything that the evidence says about it.

    Attributes:
        request_id: its id.
        at: its planned time.
        seconds: the time from `at` until its outcome was known.
        endpoint: its method and path.
        connection: `new` or `reused`.
        journey: the journey that it belongs to.
        step: what the rollout was doing at its planned time.
        schema: the last migration that had completed by then.
        replica: the replica that answered it, or that it was sent to.
        version: the version of that replica.
        status: the status of the response.
        error: the transport error; present if there is no response.
        error_detail: the message of that error.
        proxy_status: why the balancer answered instead of a replica.
        sqlstate: the code of Postgres' error.
        problem: what the application said about the failure.
        attempts: how often the balancer sent it to a replica, from its access log.
        end: why the exchange ended, from the same log.
        lag_seconds: how long after the replica's stop signal the router sent it; absent if the
            router sent it before.
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
    lag_seconds: float | None = None


class CauseEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of one cause have in common; each mapping counts them, most frequent first.

    Attributes:
        requests: their ids in the order of their planned times, at most the first thousand.
        first: the planned time of the first request.
        last: the planned time of the last request.
        replicas: their number by replica, as far as the replica is known.
        versions: their number by version, as far as the version is known.
        endpoints: their number by endpoint.
        connections: their number by kind of connection.
        steps: their number by what the rollout was doing.
        schemas: their number by the last completed migration, as far as there was one.
        examples: the first requests, with all that the evidence says about them.
        contributing: what else may have contributed, and to how many of the requests: other causes
            whose rule matches them too, migrations, faults.
        faults: those entries of `contributing` that are faults which the run made.
        undrained: how the requests met stopped replicas; only for `lifecycle:undrained`.
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
    faults: Mapping[str, int] = msgspec.field(default_factory=dict)
    undrained: Undrained | None = None
    note: str | None = None


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why some requests failed, or why some took too long.

    Attributes:
        cause: its id, such as `no_backend` or `sqlstate:23502`. The same id may come twice with
            different confidence: once for the requests that are explained, once for the others.
        title: the cause in words.
        kind: the mechanism, so that programs need not read the id or the title: `harness` (the load
            generator itself), `machine` (other processes used the processors, so the release may be
            innocent), `no_backend`, `lifecycle` (the replica was starting or stopping), `statement`
            (the database refused a statement), `lock`, `database` (the database was late or away),
            `balancer`, `mixed_fleet` (one version lacks what another one serves), `service` (a
            service behind the application), `application`, `transport`, `answer`, `slow`.
        confidence: `certain` if a party that knows the cause recorded it, `likely` if time and
            place join the failure to an event, `symptom` if only the symptom is known.
        count: how many failed requests have this cause; `evidence.requests` lists at most the first
            thousand.
        evidence: what the requests have in common.
        excused: how many of `count` do not count against the release, because the control run had
            such failures as often.
    """

    cause: str
    title: str
    confidence: Confidence
    count: int
    evidence: CauseEvidence
    kind: CauseKind = "unknown"
    excused: int = 0
