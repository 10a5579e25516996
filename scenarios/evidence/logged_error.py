"""The errors in the logs of replicas, as recorded in `errors.ndjson`."""

from typing import Literal

import msgspec

Language = Literal["python", "javascript", "java", "go", "ruby", "json", "text"]


class LoggedError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One exception, panic or error that a replica wrote to its log.

    Attributes:
        at_ns: its time on the machine's monotonic clock: the stamp of the line, if that is
            plausible, else the time at which the line was read.
        source: the log that has it: a replica's id, or another process of the release.
        language: the language whose format it has; `text`: a plain line with a level.
        type: the class of the exception, such as `asyncpg.UndefinedColumnError`; empty if unknown.
        message: its message, in one line.
        root: the exception that caused it, as `type: message`; absent if there was none.
        sqlstate: the SQLSTATE that it carries.
        request_id: the id of the request that its lines name.
        place: where it was raised, as in the log.
    """

    at_ns: int
    source: str
    language: Language
    type: str
    message: str
    root: str | None = None
    sqlstate: str | None = None
    request_id: str | None = None
    place: str | None = None

    @property
    def last_line(self) -> str:
        """The exception as its language prints it: `type: message`."""
        return ": ".join(part for part in (self.type, self.message) if part)
