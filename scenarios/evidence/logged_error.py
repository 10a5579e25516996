"""What replicas logged about their own errors, as recorded in `errors.ndjson`."""

from typing import Literal

import msgspec

Language = Literal["python", "javascript", "java", "go", "ruby", "json"]


class LoggedError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One exception, panic or error that a replica wrote to its log.

    Attributes:
        at_ns: when, on the machine's monotonic clock: the line's own stamp where it has one that
            can be right, else the instant at which the line was read.
        source: the log that it stood in: a replica's id, or another process of the release.
        language: whose format it has.
        type: the class of the exception, such as `asyncpg.UndefinedColumnError`; empty if unknown.
        message: what it says, in one line.
        root: the exception that it was raised from, as `type: message`; absent without one.
        sqlstate: the SQLSTATE that it carries.
        request_id: the request that its lines name.
        place: where it was raised, as the log says it.
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
