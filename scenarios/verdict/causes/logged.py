"""What replicas logged of their own errors, by request, by replica and by time. Pure."""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from scenarios.evidence.logged_error import LoggedError

LATE_NS = 500_000_000
"""An error without a time of its own is stamped when it is read, which may be so much later."""

_EXACT_NS = 5_000_000

_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
_CONDITIONS = {
    "CardinalityViolation": "21000",
    "CheckViolation": "23514",
    "DatatypeMismatch": "42804",
    "DeadlockDetected": "40P01",
    "FeatureNotSupported": "0A000",
    "ForeignKeyViolation": "23503",
    "InsufficientPrivilege": "42501",
    "InvalidCachedStatement": "0A000",
    "InvalidColumnReference": "42P10",
    "InvalidTextRepresentation": "22P02",
    "LockNotAvailable": "55P03",
    "NotNullViolation": "23502",
    "NumericValueOutOfRange": "22003",
    "QueryCanceled": "57014",
    "SerializationFailure": "40001",
    "StringDataRightTruncation": "22001",
    "TooManyConnections": "53300",
    "UndefinedColumn": "42703",
    "UndefinedFunction": "42883",
    "UndefinedObject": "42704",
    "UndefinedTable": "42P01",
    "UniqueViolation": "23505",
}
"""SQLSTATEs by the names of their conditions (PostgreSQL documentation, appendix A).

psycopg names its exceptions so, and asyncpg adds `Error`.
"""
_CONDITION = re.compile(r"\b(" + "|".join(_CONDITIONS) + r")(?:Error)?\b")


_MESSAGES = tuple(
    (re.compile(pattern), sqlstate)
    for pattern, sqlstate in (
        (r"\bcolumn \S+(?: of relation \S+)? does not exist", "42703"),
        (r"\brelation \S+ does not exist", "42P01"),
        (r"\bfunction .+ does not exist", "42883"),
        (r"\btype \"[^\"]+\" does not exist", "42704"),
        (r"\bnull value in column .* violates not-null constraint", "23502"),
        (r"\bduplicate key value violates unique constraint", "23505"),
        (r"\bviolates foreign key constraint", "23503"),
        (r"\bviolates check constraint", "23514"),
        (r"\binvalid input value for enum", "22P02"),
        (r"\bvalue too long for type", "22001"),
        (r"\bpermission denied for (?:table|relation|schema|sequence|database)", "42501"),
        (r"\bcanceling statement due to lock timeout", "55P03"),
        (r"\bcanceling statement due to statement timeout", "57014"),
        (r"\bdeadlock detected", "40P01"),
        (r"\bcould not serialize access", "40001"),
        (r"\bcurrent transaction is aborted", "25P02"),
        (r"\bsorry, too many clients already", "53300"),
    )
)
"""The server's own words (PostgreSQL, in English): drivers such as JDBC and pq log nothing else."""


class Quoted(NamedTuple):
    """One exception, as often as it was logged.

    Attributes:
        text: its last line.
        times: how many errors of this kind the logs have.
        sources: the replicas whose logs have them, the most frequent first.
    """

    text: str
    times: int
    sources: tuple[str, ...]

    def __str__(self) -> str:
        """The quotation with its count, as part of a sentence."""
        times = "once" if self.times == 1 else f"{self.times:,} times"
        return f"the logs of {', '.join(self.sources)} have {times}: {self.text}"


def kind_of(error: LoggedError) -> str:
    """The last line of an error without the values in it, which is the same for similar errors."""
    return without_values(error.last_line)


def without_values(text: str) -> str:
    """A message without what differs from one case to the next: numbers and quoted values."""
    return _VALUES.sub("…", text)


def sqlstate_of(error: LoggedError) -> str | None:
    """The SQLSTATE that an error carries, else that of its class's or its message's condition.

    The same of its root, which may be the one that the database gave.
    """
    if error.sqlstate is not None:
        return error.sqlstate
    texts = (error.type, error.message, error.root or "")
    for text in texts:
        match = _CONDITION.search(text)
        if match is not None:
            return _CONDITIONS[match[1]]
    return next(
        (state for text in texts for said, state in _MESSAGES if said.search(text) is not None),
        None,
    )


class LoggedErrors:
    """All of them, in order.

    Attributes:
        shared: whether a log may be that of any replica, as with the logs of a watched service.
    """

    def __init__(self, errors: Iterable[LoggedError] = (), *, shared: bool = False) -> None:
        self.shared = shared
        self.all = sorted(errors, key=lambda one: (one.at_ns, one.source, one.last_line))
        self._times = [one.at_ns for one in self.all]
        self._by_request = {
            one.request_id: one for one in reversed(self.all) if one.request_id is not None
        }
        self._by_source: dict[str, tuple[list[int], list[LoggedError]]] = {}
        for one in self.all:
            times, errors_of = self._by_source.setdefault(one.source, ([], []))
            times.append(one.at_ns)
            errors_of.append(one)

    def of_request(self, request_id: str) -> LoggedError | None:
        """The first error that names the request."""
        return self._by_request.get(request_id)

    def of_source(
        self, source: str | None, start_ns: int = 0, end_ns: int | None = None
    ) -> Sequence[LoggedError]:
        """The errors of one log, in order; those of a stretch of time, if it is given.

        Where a log may be anybody's, a replica without a log of its own has the errors of all.
        """
        if source in self._by_source:
            times, found = self._by_source[source]
        elif self.shared:
            times, found = self._times, self.all
        else:
            return ()
        last = len(times) if end_ns is None else bisect_right(times, end_ns)
        return found[bisect_left(times, start_ns) : last]

    def near(
        self, request_id: str, replica: str | None, start_ns: int, end_ns: int
    ) -> Sequence[LoggedError]:
        """The errors that may be about a request: the one that names it, else those of its time.

        An error that names another request is not about this one.
        """
        own = self.of_request(request_id)
        if own is not None:
            return (own,)
        # A log with stamps of whole seconds has its errors up to a second too early.
        for early_ns in (_EXACT_NS, 1_000_000_000):
            found = self.of_source(replica, start_ns - early_ns, end_ns + LATE_NS)
            anonymous = [one for one in found if one.request_id is None]
            if anonymous:
                break
        return anonymous

    def about(
        self, request_id: str, replica: str | None, start_ns: int, end_ns: int
    ) -> LoggedError | None:
        """The error that is about a request; None if there is none, or if several kinds may be."""
        found = self.near(request_id, replica, start_ns, end_ns)
        return found[0] if len({kind_of(one) for one in found}) == 1 else None


def quoted(errors: Iterable[LoggedError]) -> list[Quoted]:
    """Each kind of error, with its count and its logs; the most frequent first."""
    kinds: dict[str, list[LoggedError]] = {}
    for one in errors:
        kinds.setdefault(kind_of(one), []).append(one)
    found = [
        Quoted(
            Counter(one.last_line for one in group).most_common(1)[0][0],
            len(group),
            tuple(name for name, _ in Counter(one.source for one in group).most_common()),
        )
        for group in kinds.values()
    ]
    return sorted(found, key=lambda one: (-one.times, one.text))
