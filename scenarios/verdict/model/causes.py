"""Why requests failed or were slow, and what shows it."""

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
    "application",
    "transport",
    "answer",
    "slow",
    "unknown",
]
"""By which mechanism requests failed or were slow. `unknown` only in verdicts of older versions."""


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
        lag_seconds: how long after its replica's stop signal the router sent it, if it did.
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
        faults: those of `contributing` that are faults which the run made, by their names.
        undrained: how the requests met stopped replicas, of `lifecycle:undrained`.
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
        cause: its id, such as `no_backend` or `sqlstate:23502`; those of its requests that are
            explained and those that are not are two causes, of different confidence.
        title: the same for people.
        kind: by which mechanism, so that programs need not read the id or the title: `harness` (the
            load generator itself), `machine` (other processes used it, so
            the release may be innocent), `no_backend`, `lifecycle` (its replica came or went),
            `statement` (the database refused a statement), `lock`, `database` (it was late or
            away), `balancer`, `mixed_fleet` (one version lacks what another one serves),
            `application`, `transport`, `answer`, `slow`.
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
    kind: CauseKind = "unknown"
