"""What an SQLSTATE means (PostgreSQL documentation, appendix A), and what it says of the effect."""

NAMES = {
    "0A000": "feature not supported, such as a cached plan whose result type changed",
    "22021": "character not in repertoire",
    "23502": "not-null violation",
    "23503": "foreign key violation",
    "23505": "unique violation",
    "23514": "check violation",
    "25P02": "transaction already aborted",
    "40001": "serialization failure",
    "40P01": "deadlock detected",
    "42501": "insufficient privilege",
    "42703": "undefined column",
    "42804": "datatype mismatch",
    "42P01": "undefined table",
    "53300": "too many connections",
    "55P03": "lock not available",
    "57014": "query cancelled, such as by a statement timeout",
    "57P01": "the server was shut down by its administrator",
    "57P02": "the server crashed",
    "57P03": "the server cannot accept connections now",
}

CLASSES = {
    "08": "connection exception",
    "22": "data exception",
    "23": "integrity constraint violation",
    "25": "invalid transaction state",
    "28": "invalid authorization",
    "40": "transaction rollback",
    "42": "syntax error or access rule violation",
    "53": "insufficient resources",
    "54": "program limit exceeded",
    "55": "object not in prerequisite state",
    "57": "operator intervention",
    "58": "system error",
    "XX": "internal error",
}

REFUSALS = frozenset({"0A", "22", "23", "42"})
"""Classes that refuse a statement for what it says: its transaction has certainly not happened."""


def describe(sqlstate: str) -> str:
    """The condition's name, or its class's."""
    return NAMES.get(sqlstate) or CLASSES.get(sqlstate[:2], "unknown condition")


def refuses(sqlstate: str | None) -> bool:
    """Whether a transaction that ended with it has certainly changed nothing."""
    return sqlstate is not None and sqlstate[:2] in REFUSALS
