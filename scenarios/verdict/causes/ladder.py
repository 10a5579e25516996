"""Why a request failed: a ladder of rules, of which the first that matches gives the cause.

The order is fixed, from what invalidates the other evidence down to the bare symptom: the harness
itself, a fleet that waited for a lock or that others starved, the balancer without a backend, the
life of the replica, a reload of the router, the race of a reused connection, what the database
refused, locks, the starved machine, a replica that answers nobody, timeouts and pools, the
database's absence, what the balancer saw, a service that failed, the mixed fleet, the application's
own answer, and last what the client saw. So the same evidence always gives the same cause. Rules
that would have matched as well are the contributing events.
"""

from collections.abc import Callable, Sequence

from scenarios.verdict.causes.answer_rules import (
    application,
    exception,
    mixed_fleet,
    rate_limit,
    service,
    status,
    upstream,
)
from scenarios.verdict.causes.cluster_rules import met_pod, no_endpoint
from scenarios.verdict.causes.containers import container
from scenarios.verdict.causes.database_rules import (
    blocked_fleet,
    database,
    database_away,
    driver,
    lock_wait,
    logged_sqlstate,
    pool_exhausted,
    server_log,
    statement_timeout,
)
from scenarios.verdict.causes.exchange_rules import (
    balancer,
    harness,
    keep_alive_race,
    lifecycle,
    no_backend,
    reload,
    reused_connection,
    starved,
    starved_fleet,
    transport,
    unprocessed,
    unresponsive,
)
from scenarios.verdict.causes.failure import Failure, Finding

Rule = Callable[[Failure], Finding | None]
LADDER: tuple[Rule, ...] = (
    harness,
    blocked_fleet,
    starved_fleet,
    no_endpoint,
    no_backend,
    met_pod,
    lifecycle,
    container,
    reload,
    keep_alive_race,
    reused_connection,
    unprocessed,
    database,
    driver,
    server_log,
    logged_sqlstate,
    lock_wait,
    starved,
    unresponsive,
    statement_timeout,
    pool_exhausted,
    database_away,
    balancer,
    service,
    mixed_fleet,
    rate_limit,
    application,
    exception,
    upstream,
    transport,
    status,
)
_NO_PART = frozenset({transport, status, application, exception, upstream, rate_limit, balancer})
"""Rules that tell what was seen; they never had a part besides another cause."""


def attribute(failure: Failure) -> Finding:
    """The cause of one failed request: what the first matching rule of the ladder says."""
    finding, _ = explain_failed(failure)
    return finding


def explain_failed(failure: Failure) -> tuple[Finding, list[str]]:
    """The cause of one failed request, and what else may have had a part; each rule asked once."""
    found = matching(failure)
    _, finding = found[0]  # the last rule of the ladder always matches
    return finding, contributing(failure, finding, found)


def matching(failure: Failure) -> list[tuple[Rule, Finding]]:
    """The rules that match, by the order of the ladder."""
    return [(rule, finding) for rule in LADDER if (finding := rule(failure)) is not None]


def contributing(
    failure: Failure, primary: Finding, found: Sequence[tuple[Rule, Finding]] | None = None
) -> list[str]:
    """What else may have had a part: further rules that match, faults, a migration.

    Args:
        failure: the request.
        primary: its cause.
        found: the rules that match, if that is known already.
    """
    causes = [
        finding.cause
        for rule, finding in (matching(failure) if found is None else found)
        if rule not in _NO_PART and finding.cause != primary.cause
    ]
    causes += [f"fault: {one}" for one in failure.around.faults(failure.replica, *failure.span)]
    causes += failure.around.cluster.beside(failure.replica)
    migration = failure.around.migration(*failure.span)
    if migration is not None:
        causes.append(f"migration: {migration}")
    return list(dict.fromkeys(causes))
