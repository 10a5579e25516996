"""The errors that the database server logged for the sessions of an application."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable

from scenarios.evidence.locks import DatabaseSession
from scenarios.evidence.server_log import ServerLine

OURS = "hitless-"
"""What the names of our own sessions begin with: migrator, harness, watch, faults, fresh."""

_NOWHERE = (None, "", "[unknown]")
"""How the server calls the database of a session that has not got to one."""

_ERRORS = frozenset({"ERROR", "FATAL", "PANIC"})
_ABORTED, _STALE_PLAN = "25P02", "0A000"
_LOST = frozenset({"08", "57"})
"""Classes of SQLSTATE that are about the server's absence, not about a statement."""


class ServerErrors:
    """What the server refused sessions of the application, in its own database.

    Attributes:
        lines: the errors, by time.
    """

    def __init__(
        self,
        server_log: Iterable[ServerLine],
        database: str | None,
        replica_of: Callable[[DatabaseSession | ServerLine], str | None],
    ) -> None:
        """Put them in order.

        Args:
            server_log: what the server logged, of all its databases.
            database: the application's own; None: nobody wrote down which, and each may be.
            replica_of: the replica that a session's name names.
        """
        self._replica_of = replica_of
        self.lines = sorted(
            (
                line
                for line in server_log
                if line.severity in _ERRORS
                and (line.application or line.port is not None)
                and not is_ours(line.application or "")
                # A rehearsal has a copy, where sessions of no replica do what nobody asked for.
                and (database is None or line.database in (*_NOWHERE, database))
            ),
            key=lambda line: (line.at_ns, line.pid),
        )
        self._line_starts = [line.at_ns for line in self.lines]

    @property
    def unmatched(self) -> int:
        """How many of the errors are of sessions of which nobody knows whose they were."""
        return sum(self._replica_of(line) is None for line in _telling(self.lines))

    def only_error(self, replica: str | None, start_ns: int, end_ns: int) -> ServerLine | None:
        """What the server refused a session of the replica in that time, if it is one thing.

        The server's stamps are whole milliseconds.
        """
        near = self.errors_of(replica, start_ns - 2_000_000, end_ns + 2_000_000)
        lines = _telling(self.first_of_session(line) for line in near)
        if len({line.sqlstate for line in lines}) != 1:
            return None
        return lines[0]

    def first_of_session(self, line: ServerLine) -> ServerLine:
        """The error that broke the transaction, for a line that only says that it is broken.

        25P02 always follows another error of the same session.
        """
        if line.sqlstate != _ABORTED:
            return line
        index = bisect_right(self._line_starts, line.at_ns)
        for before in reversed(self.lines[:index]):
            if before.pid == line.pid and before.sqlstate != _ABORTED:
                return before
        return line

    def first_error_of(self, replica: str, start_ns: int, end_ns: int) -> ServerLine | None:
        """The first statement in that time that the server refused a session named by a replica."""
        first = bisect_left(self._line_starts, start_ns)
        last = bisect_right(self._line_starts, end_ns)
        mine = (one for one in self.lines[first:last] if self._replica_of(one) == replica)
        return next(iter(_telling(map(self.first_of_session, mine))), None)

    def errors_of(self, replica: str | None, start_ns: int, end_ns: int) -> list[ServerLine]:
        """The errors in that time of the replica's sessions, and of those that name no replica."""
        first = bisect_left(self._line_starts, start_ns)
        last = bisect_right(self._line_starts, end_ns)
        return [
            line for line in self.lines[first:last] if self._replica_of(line) in (replica, None)
        ]


def _telling(lines: Iterable[ServerLine]) -> list[ServerLine]:
    """The errors of statements; a stale plan counts only where nothing else was refused.

    Drivers prepare a statement with a stale plan anew, so its session went on; what then failed
    has another SQLSTATE.
    """
    found = [line for line in lines if line.sqlstate[:2] not in _LOST]
    others = [line for line in found if line.sqlstate != _STALE_PLAN]
    return others or found


def words(application: str) -> list[str]:
    """The words of an `application_name`: replica ids are one word each."""
    return "".join(c if c.isalnum() or c in "-_." else " " for c in application).split()


def is_ours(application: str) -> bool:
    """Whether a session is one of the harness's own."""
    return any(word.startswith(OURS) for word in words(application))
