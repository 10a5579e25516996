"""Why a request failed: a ladder of rules, of which the first that matches gives the cause.

The order is fixed, from what invalidates the other evidence down to the bare symptom: the harness
itself, a fleet that waited for a lock or that others starved, the balancer without a backend, the
life of the replica, a reload of the router, the race of a reused connection, what the database
refused, locks, the starved machine, a replica that answers nobody, timeouts and pools, the
database's absence, what the balancer saw, the mixed fleet, the application's own answer, and last
what the client saw. So the same evidence always gives the same cause. Rules that would have matched
as well are the contributing events.
"""

import errno
import re
from collections.abc import Callable, Sequence

from scenarios.verdict.causes import sqlstates
from scenarios.verdict.causes.failure import Failure, Finding
from scenarios.verdict.causes.logged import sqlstate_of
from scenarios.verdict.causes.surroundings import SLACK_NS
from scenarios.verdict.timeline import Life

EXHAUSTED = {
    errno.EMFILE: ("harness:descriptors", "the load generator ran out of descriptors"),
    errno.ENFILE: ("harness:descriptors", "the load generator's machine ran out of descriptors"),
    errno.EADDRNOTAVAIL: ("harness:ports", "the load generator ran out of ports"),
}

TRANSPORT = {
    "connect_refused": "the balancer refused the connection",
    "connect_timeout": "the connection to the balancer timed out",
    "reset": "the connection was reset before a complete response",
    "eof": "the connection was closed before a complete response",
    "timeout": "no complete response before the timeout",
    "malformed": "the response was not HTTP",
}

BALANCER = {
    "connection_refused": "the replica refused the balancer's connection",
    "connection_terminated": "the replica closed the connection before it answered",
    "connection_timeout": "the balancer could not connect to the replica in time",
    "http_response_incomplete": "the replica's response ended too early",
    "http_response_timeout": "the replica did not answer in time",
    "http_protocol_error": "the replica's response was not HTTP",
    "proxy_internal_error": "internal error of the balancer",
}


KEEP_ALIVE_RACE = "keep_alive:race"
LOST = frozenset({"connect_refused", "reset", "eof"})
"""How a client sees that its connection is lost."""

_STATEMENT_TIMEOUT = re.compile(r"(?i)did not answer in time|statement timeout|query.*timed? ?out")
_POOL = re.compile(r"(?i)no (free |database )?connection|\bpool\b|too many connections")
_LATE = frozenset({"connection_timeout", "http_response_timeout"})
_PARAMETER = re.compile(
    r"(?i)invalid input for query argument|value out of u?int\d+ range"
    r"|out of range integral type|int too large to convert"
    r"|greater than maximum value for int|unable to encode .* into binary format"
)
_STALE_PLAN = re.compile(r"(?i)cached (statement )?plan (is invalid|must not change)")
_TOO_MANY_REQUESTS = 429
_REFUSALS = frozenset({400, 409, 422})
_LOCKED = Finding("lock_wait", "the request waited for a lock in the database", "likely", "lock")
STARVED = Finding(
    "machine:starved",
    "nobody answered in time, because other processes used the machine",
    "likely",
    "machine",
)


def harness(failure: Failure) -> Finding | None:
    """The load generator's own failure says nothing about the application."""
    outcome = failure.outcome
    if outcome.errno in EXHAUSTED:
        cause, title = EXHAUSTED[outcome.errno]
        return Finding(cause, title, "certain", "harness")
    if outcome.error == "undispatched":
        title = "the load generator could not send the request"
        return Finding("harness:undispatched", title, "certain", "harness")
    return None


def blocked_fleet(failure: Failure) -> Finding | None:
    """The balancer had nobody to ask, since the whole fleet waited for a lock during its checks."""
    if not failure.refused or failure.around.blocked_fleet(*failure.span) is None:
        return None
    return _LOCKED


def starved_fleet(failure: Failure) -> Finding | None:
    """The balancer had nobody to ask, since others had the machine and no check was answered."""
    if not failure.refused or _faulty(failure):
        return None
    return STARVED if failure.around.starved_fleet(*failure.span) is not None else None


def starved(failure: Failure) -> Finding | None:
    """It was not answered in time while others had the machine.

    Only silence is excused so: timeouts, connections that were not made in time, and replicas that
    were taken out since they did not answer their checks. What somebody said is not, and neither
    is what a fault of the run explains.
    """
    if _faulty(failure) or not (_timed_out(failure) or _taken_out(failure)):
        return None
    return STARVED if failure.around.machine.starved(*failure.span) is not None else None


def _timed_out(failure: Failure) -> bool:
    return failure.outcome.sqlstate is None and (
        failure.outcome.error in ("timeout", "connect_timeout")
        or (failure.proxy is not None and failure.proxy.error in _LATE)
        or statement_timeout(failure) is not None
    )


def _taken_out(failure: Failure) -> bool:
    """Whether the exchange broke off with a replica that had not answered its health checks."""
    if not failure.cut:
        return False
    down = failure.around.down(failure.replica, *failure.span)
    return down is not None and down.unanswered


def _faulty(failure: Failure) -> bool:
    return bool(failure.around.faults(failure.replica, *failure.span))


def no_backend(failure: Failure) -> Finding | None:
    """The balancer says that it had nobody to ask."""
    if not failure.refused:
        return None
    return Finding("no_backend", "no backend was available", "certain", "no_backend")


def lifecycle(failure: Failure) -> Finding | None:
    """The exchange broke off while its replica was coming or going."""
    life, now = failure.life, failure.at_ns
    if life is None or not failure.cut:
        return None
    if _by(life.asked_ns, now) or (life.cut and _near(life.drained_ns, now)):
        return _stopped(life)
    if _by(life.died_ns, now + SLACK_NS):
        return Finding("lifecycle:died", "the replica had died", "likely", "lifecycle")
    if life.started_ns is not None and (life.ready_ns is None or life.ready_ns > now):
        return Finding(
            "lifecycle:not_ready", "the replica was not ready yet", "likely", "lifecycle"
        )
    return None


def unresponsive(failure: Failure) -> Finding | None:
    """The exchange led to nothing, and so did everybody else's with that replica."""
    timed_out = failure.outcome.error == "timeout" and failure.outcome.first_byte_ns is None
    if not (timed_out or failure.cut):
        return None
    if failure.around.down(failure.replica, *failure.span) is not None:
        words = "the replica did not answer and failed its health checks"
    elif timed_out and failure.around.silent(failure.replica, *failure.span):
        words = "the replica answered no request during that time"
    else:
        return None
    return Finding("lifecycle:unresponsive", words, "likely", "lifecycle")


def _stopped(life: Life) -> Finding:
    if life.cut:
        return Finding(
            "lifecycle:drain_exceeded",
            "the replica's drain timed out while the request was in flight",
            "likely",
            "lifecycle",
        )
    if life.drain_started_ns is None:
        return Finding(
            "lifecycle:undrained", "the replica was stopped without a drain", "likely", "lifecycle"
        )
    return Finding("lifecycle:stopped", "the replica was being stopped", "likely", "lifecycle")


def _by(event_ns: int | None, now: int) -> bool:
    return event_ns is not None and event_ns <= now


def _near(event_ns: int | None, now: int) -> bool:
    return event_ns is not None and abs(event_ns - now) <= SLACK_NS


def reload(failure: Failure) -> Finding | None:
    """The router loaded a new configuration, and has not logged the request at all."""
    if failure.exchange is not None or failure.outcome.error not in LOST:
        return None
    if not failure.around.reloading(*failure.span):
        return None
    return Finding(
        "router:reload",
        "the router lost the connection while it loaded a new configuration",
        "likely",
        "balancer",
    )


def keep_alive_race(failure: Failure) -> Finding | None:
    """The replica ended a kept connection before it said anything to the request on it."""
    exchange, proxy = failure.exchange, failure.proxy
    if proxy is None or proxy.error != "connection_terminated" or exchange is None:
        return None
    if not exchange.reused or exchange.first_byte_ns >= 0:
        return None
    return Finding(
        KEEP_ALIVE_RACE,
        "the replica closed a kept connection just as the router sent the request on it",
        "likely",
        "transport",
    )


def reused_connection(failure: Failure) -> Finding | None:
    """A kept-alive connection was closed under the request, which the balancer never logged."""
    outcome = failure.outcome
    if (
        outcome.error in ("reset", "eof")
        and outcome.connection == "reused"
        and outcome.first_byte_ns is None
        and failure.exchange is None
    ):
        return Finding(
            "transport:reused_connection",
            "a reused connection was closed just as the request was sent",
            "likely",
            "transport",
        )
    return None


def database(failure: Failure) -> Finding | None:
    """The application passed on why Postgres refused."""
    sqlstate = failure.sqlstate
    if sqlstate is None:
        return None
    return Finding(
        f"sqlstate:{sqlstate}",
        f"SQLSTATE {sqlstate}: {sqlstates.describe(sqlstate)}",
        "certain",
        "statement",
    )


def server_log(failure: Failure) -> Finding | None:
    """The application kept the reason to itself, but Postgres' own log has it.

    Some applications answer what the database refuses with a 4xx, as if it were the user's fault.
    """
    if not _silent_refusal(failure):
        return None
    line = failure.around.server_error(failure.replica, *failure.span)
    if line is None:
        return None
    return Finding(
        f"sqlstate:{line.sqlstate}",
        f"SQLSTATE {line.sqlstate}: {sqlstates.describe(line.sqlstate)}",
        "likely",
        "statement",
    )


def driver(failure: Failure) -> Finding | None:
    """The database's driver refused by itself, as the replica's log says.

    The server knows nothing of a parameter that never reached it.
    """
    error = failure.logged if _silent_refusal(failure) else None
    if error is None:
        return None
    text = f"{error.last_line} {error.root or ''}"
    if _STALE_PLAN.search(text):
        cause, words = "driver:stale_plan", "the driver used a plan from before the schema changed"
    elif not _PARAMETER.search(text):
        return None
    elif failure.around.type_changed(failure.at_ns):
        cause, words = "driver:stale_parameter", "the driver refused a value by a column's old type"
    else:
        cause, words = "driver:parameter", "the driver refused a value"
    return Finding(cause, f"{words}: {error.last_line}", "likely", "statement")


def logged_sqlstate(failure: Failure) -> Finding | None:
    """The replica's log has why Postgres refused, and nobody else does."""
    error = failure.logged if _silent_refusal(failure) else None
    sqlstate = None if error is None else sqlstate_of(error)
    if sqlstate is None:
        return None
    title = f"SQLSTATE {sqlstate}: {sqlstates.describe(sqlstate)}"
    return Finding(f"sqlstate:{sqlstate}", title, "likely", "statement")


def _silent_refusal(failure: Failure) -> bool:
    """Whether an application answered with an error, or a refusal, and gave no SQLSTATE."""
    refused = failure.proxy is None and failure.outcome.status in _REFUSALS
    return (failure.answered_badly or refused) and failure.outcome.sqlstate is None


def lock_wait(failure: Failure) -> Finding | None:
    """Its replica waited for a lock, for at least half of the time."""
    late = failure.proxy is not None and failure.proxy.error in _LATE
    waited = failure.answered_badly or failure.outcome.error == "timeout" or failure.outcome.ok
    if not (waited or late or failure.cut):
        return None
    if failure.around.blocked(failure.replica, *failure.span) is None:
        return None
    return _LOCKED


def statement_timeout(failure: Failure) -> Finding | None:
    """The application gave up on a statement."""
    if failure.answered_badly and _says(failure, _STATEMENT_TIMEOUT):
        return Finding(
            "statement_timeout", "the database did not answer in time", "likely", "database"
        )
    return None


def pool_exhausted(failure: Failure) -> Finding | None:
    """The application had no connection to the database left."""
    if failure.answered_badly and _says(failure, _POOL):
        return Finding(
            "pool_exhausted",
            "the application had no free database connection",
            "likely",
            "database",
        )
    return None


def _says(failure: Failure, words: re.Pattern[str]) -> bool:
    return words.search(failure.outcome.problem or "") is not None


def database_away(failure: Failure) -> Finding | None:
    """The database did not answer anybody at that time."""
    if not (failure.answered_badly or failure.outcome.error == "timeout" or failure.outcome.ok):
        return None
    if failure.around.absence(*failure.span) is None:
        return None
    return Finding("database:away", "the database was unavailable", "likely", "database")


def balancer(failure: Failure) -> Finding | None:
    """The balancer says why it answered by itself."""
    if failure.proxy is None:
        return None
    error = failure.proxy.error
    words = BALANCER.get(error) or error.replace("_", " ")
    if failure.exchange is not None and failure.exchange.foreign:
        sure = failure.exchange.confidence
        return Finding(f"router:{error}", f"router: {words}", sure, "balancer")
    return Finding(f"balancer:{error}", f"balancer: {words}", "certain", "balancer")


def mixed_fleet(failure: Failure) -> Finding | None:
    """One version lacks what another one serves, or handed out."""
    lack = failure.lack
    if lack is None:
        return None
    status = failure.outcome.status
    if lack.how == "served":
        title = f"version {lack.version} lacks a route that version {lack.other} serves"
    else:
        title = f"version {lack.version} lacks a route that version {lack.other} handed out"
    return Finding(f"status:{status}", f"HTTP {status}: {title}", "likely", "mixed_fleet")


def application(failure: Failure) -> Finding | None:
    """The application itself answered, with its own words for what went wrong."""
    outcome = failure.outcome
    if outcome.error is not None or not outcome.problem or not failure.answered_badly:
        return None
    return Finding(
        f"status:{outcome.status}",
        f"HTTP {outcome.status} from the application: {outcome.problem}",
        "likely",
        "application",
    )


def exception(failure: Failure) -> Finding | None:
    """The application answered with a server error, and its log has the exception."""
    error = failure.logged if failure.answered_badly else None
    if error is None or failure.outcome.error is not None:
        return None
    status = failure.outcome.status
    title = f"HTTP {status} from the application, which logged {error.last_line}"
    return Finding(f"status:{status}", title, "likely", "application")


def rate_limit(failure: Failure) -> Finding | None:
    """The application limits how many requests it answers (RFC 6585, section 4)."""
    if failure.proxy is not None or failure.outcome.status != _TOO_MANY_REQUESTS:
        return None
    title = "HTTP 429: the application limits the rate of requests"
    return Finding("application:rate_limit", title, "likely", "application")


def transport(failure: Failure) -> Finding | None:
    """The client got no complete response, and nobody said why."""
    error = failure.outcome.error
    if error is None:
        return None
    words = TRANSPORT.get(error) or error.replace("_", " ")
    return Finding(f"transport:{error}", words, "symptom", "transport")


def status(failure: Failure) -> Finding:
    """There is a response that was not expected, by its status or by what the scenario checks."""
    found = failure.outcome.status
    if failure.outcome.mismatch is not None:
        title = f"unexpected answer: {failure.outcome.mismatch}"
        return Finding("unexpected_answer", title, "symptom", "answer")
    problem = f": {failure.outcome.problem}" if failure.outcome.problem else ""
    return Finding(f"status:{found}", f"HTTP {found}{problem}", "symptom", "answer")


Rule = Callable[[Failure], Finding | None]

LADDER: tuple[Rule, ...] = (
    harness,
    blocked_fleet,
    starved_fleet,
    no_backend,
    lifecycle,
    reload,
    keep_alive_race,
    reused_connection,
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
    mixed_fleet,
    rate_limit,
    application,
    exception,
    transport,
    status,
)


_NO_PART = frozenset({transport, status, application, exception, rate_limit, balancer})
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
    migration = failure.around.migration(*failure.span)
    if migration is not None:
        causes.append(f"migration: {migration}")
    return list(dict.fromkeys(causes))
