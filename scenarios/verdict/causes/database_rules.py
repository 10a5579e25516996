"""Rules of the ladder about the database: what it refused, locks, its silence, its driver."""

import re

from scenarios.verdict.causes import sqlstates
from scenarios.verdict.causes.failure import Failure, Finding
from scenarios.verdict.causes.logged import sqlstate_of
from scenarios.verdict.causes.proxy_status import LATE

_STATEMENT_TIMEOUT = re.compile(r"(?i)did not answer in time|statement timeout|query.*timed? ?out")
_POOL = re.compile(r"(?i)no (free |database )?connection|\bpool\b|too many connections")
_FULL = re.compile(r"(?i)too many (connections|clients)|remaining connection slots")
_PARAMETER = re.compile(
    r"(?i)invalid input for query argument|value out of u?int\d+ range"
    r"|out of range integral type|int too large to convert"
    r"|greater than maximum value for int|unable to encode .* into binary format"
)
_STALE_PLAN = re.compile(r"(?i)cached (statement )?plan (is invalid|must not change)")
_REFUSALS = frozenset({400, 409, 422})
_LOCKED = Finding("lock_wait", "the request waited for a lock in the database", "likely", "lock")


def blocked_fleet(failure: Failure) -> Finding | None:
    """The balancer had nobody to ask, since the whole fleet waited for a lock during its checks."""
    if not failure.refused or failure.around.blocked_fleet(*failure.span) is None:
        return None
    return _LOCKED


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
    late = failure.proxy is not None and failure.proxy.error in LATE
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


def waited_for_pool(failure: Failure) -> bool:
    """Whether no connection was free in time; a server that is full refuses at once."""
    return pool_exhausted(failure) is not None and not _says(failure, _FULL)


def _says(failure: Failure, words: re.Pattern[str]) -> bool:
    return words.search(failure.outcome.problem or "") is not None


def database_away(failure: Failure) -> Finding | None:
    """The database did not answer anybody at that time."""
    if not (failure.answered_badly or failure.outcome.error == "timeout" or failure.outcome.ok):
        return None
    if failure.around.absence(*failure.span) is None:
        return None
    return Finding("database:away", "the database was unavailable", "likely", "database")
