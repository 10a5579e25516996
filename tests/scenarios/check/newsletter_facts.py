"""The newsletter's compatibility table, as what trials would see."""

from scenarios.check.observed import CellResult, CrossingResult, EndpointResult, Observed
from scenarios.check.reachable import SchemaState
from scenarios.check.release_plan import Apply, Deployment, ReleasePlan, SchemaChange
from scenarios.check.trial_plan import all_advances, schema_after

A, BRIDGE, B = "a", "bridge", "b"
SUBSCRIBE, CONFIRM = "POST /subscriptions", "GET /subscriptions/confirm"

STATES = {
    frozenset[str](): "S0",
    frozenset({"tokens"}): "S0+tokens",
    frozenset({"nullable"}): "S1",
    frozenset({"nullable", "tokens"}): "S1+tokens",
    frozenset({"nullable", "not null"}): "S2",
    frozenset({"nullable", "tokens", "not null"}): "S3",
    frozenset({"status"}): "S2",
    frozenset({"status", "tokens"}): "S3",
    frozenset({"default"}): "SD",
    frozenset({"default", "tokens"}): "SD+tokens",
}
POST = {
    "S0": {A: None, BRIDGE: "42703", B: "42703"},
    "S0+tokens": {A: None, BRIDGE: "42703", B: "42703"},
    "S1": {A: None, BRIDGE: None, B: "42P01"},
    "S1+tokens": {A: None, BRIDGE: None, B: None},
    "S2": {A: "23502", BRIDGE: None, B: "42P01"},
    "S3": {A: "23502", BRIDGE: None, B: None},
    "SD": {A: None, BRIDGE: None, B: "42P01"},
    "SD+tokens": {A: None, BRIDGE: None, B: None},
}
"""The SQLSTATE with which a subscription is refused; None where it is not."""


def apply(step: int, *names: str) -> Apply:
    return Apply(step=step, changes=tuple(SchemaChange(name=name) for name in names))


def deploy(step: int, version: str) -> Deployment:
    return Deployment(step=step, version=version)


PLANS = {
    "big-bang": ReleasePlan(
        name="big-bang", start=A, steps=(apply(1, "status", "tokens"), deploy(2, B))
    ),
    "code-first": ReleasePlan(
        name="code-first", start=A, steps=(deploy(1, B), apply(2, "status", "tokens"))
    ),
    "with-default": ReleasePlan(
        name="with-default", start=A, steps=(apply(1, "default", "tokens"), deploy(2, B))
    ),
    "default-later": ReleasePlan(
        name="default-later", start=A, steps=(deploy(1, B), apply(2, "default", "tokens"))
    ),
    "expand-contract": ReleasePlan(
        name="expand-contract",
        start=A,
        steps=(
            apply(1, "nullable", "tokens"),
            deploy(2, BRIDGE),
            apply(3, "not null"),
            deploy(4, B),
        ),
    ),
}


def state_of(schema: SchemaState) -> str:
    return STATES[frozenset(schema.applied)]


def observed(plan: ReleasePlan) -> Observed:
    """What trials of the plan would see, by the table."""
    advances = all_advances(plan)
    schemas = [schema_after(advances[:count]) for count in range(len(advances) + 1)]
    cells = []
    crossings = []
    for schema in schemas:
        state = state_of(schema)
        for version in plan.versions:
            sqlstate = POST[state][version]
            cells += [
                CellResult(
                    schema=schema.key,
                    version=version,
                    connections=connections,
                    endpoints=(_endpoint(SUBSCRIBE, sqlstate=sqlstate),),
                )
                for connections in ("warm", "fresh")
            ]
            crossings += [
                CrossingResult(
                    schema=schema.key,
                    began=version,
                    went_on=other,
                    endpoints=_clicks(version, other),
                )
                for other in plan.versions
                if other != version and sqlstate is None
            ]
    return Observed(cells=tuple(cells), crossings=tuple(crossings))


def _clicks(mails: str, clicked: str) -> tuple[EndpointResult, ...]:
    """Only b mails links, and only a does not know them."""
    if mails != B:
        return ()
    if clicked == A:
        return (EndpointResult(endpoint=CONFIRM, requests=1, failed=1, status=404),)
    return (EndpointResult(endpoint=CONFIRM, requests=1),)


def _endpoint(endpoint: str, *, sqlstate: str | None) -> EndpointResult:
    if sqlstate is None:
        return EndpointResult(endpoint=endpoint, requests=1)
    return EndpointResult(endpoint=endpoint, requests=1, failed=1, status=500, sqlstate=sqlstate)
