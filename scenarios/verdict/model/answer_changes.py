"""Answers that lost a value, or in which one has another type, with the same status as before."""

import msgspec


class AnswerChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value of an endpoint's JSON answers that clients knew, and that is now missing or another.

    Attributes:
        endpoint: the endpoint.
        status: the status of the answers.
        version: the version that answers so; absent where no answer names its replica.
        before: the version that answered as clients know it.
        since: the last change of the schema before that; absent if there was none.
        what: what differs, such as `$.device is missing`.
        count: how many of the answers that were looked at differ.
        answers: how many answers of that version were looked at since.
        first: the first request that was answered so.
    """

    endpoint: str
    status: int
    what: str
    count: int
    answers: int
    first: str
    version: str | None = None
    before: str | None = None
    since: str | None = None

    @property
    def sentence(self) -> str:
        """The change in words."""
        who = "the application" if self.version is None else f"version {self.version}"
        since = f" since {self.since}" if self.since else ""
        like = (
            f", and was there in each answer of version {self.before}"
            if self.version != self.before and self.what.endswith("missing")
            else f" in answers of version {self.before}"
            if self.version != self.before
            else ""
        )
        return (
            f"{who} answers {self.endpoint} ({self.status}) otherwise{since}: {self.what}{like}; "
            f"{self.count:,} of {self.answers:,} answers that were looked at, "
            f"the first to {self.first}"
        )


class AnswerComparison(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was found in the JSON answers.

    Attributes:
        looked_at: how many answers were looked at.
        compared: how many endpoints with a status have answers before and during or after the
            release.
        changes: what differs.
    """

    looked_at: int = 0
    compared: int = 0
    changes: tuple[AnswerChange, ...] = ()
