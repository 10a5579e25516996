"""What is stored for the subjects of a trial, against what its requests sent and what was there."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from orchestrator.errors import EnvironmentFailure
from scenarios.evidence.subject import Subject
from scenarios.recording.ndjson_command import NdjsonCommand
from scenarios.recording.subjects import EXAMPLE, read_subjects
from scenarios.runner.checking.replica_client import PlayedRequest
from scenarios.verdict.data.values import (
    KEPT_VALUE,
    Known,
    Source,
    changed_values,
    sent_by,
    violation_of,
)

_LISTED = 3


class StoredRows:
    """Reads the subjects of one trial's database.

    Args:
        url: the database; empty: there is none.
        query: `integrity.subjects`; None: nobody asks for it.
        tell: told of a command that fails. It may be written for another schema, so its values
            are not compared then.
    """

    def __init__(
        self, url: str, query: str | NdjsonCommand | None, tell: Callable[[str], None]
    ) -> None:
        self._url = url
        self._query = query if url else None
        self._tell = tell

    async def read(self) -> list[Subject] | None:
        """All rows; None where nobody can tell.

        Raises:
            EnvironmentFailure: the database refuses the query or does not answer.
        """
        if not isinstance(self._query, NdjsonCommand):
            return None if self._query is None else await read_subjects(self._url, self._query)
        try:
            return await self._query.lines(Subject, EXAMPLE)
        except EnvironmentFailure as failure:
            self._tell(f"values are not compared: {failure}")
            return None

    async def compared(self, played: Sequence[PlayedRequest]) -> list[PlayedRequest]:
        """The requests; those whose value is not stored as it was sent have failed.

        Raises:
            EnvironmentFailure: the database refuses the query or does not answer.
        """
        sent = [known for one in played if (known := _sent(one)) is not None]
        rows = await self.read() if sent else None
        if rows is None:
            return list(played)
        stored: dict[str, list[Known]] = {}
        for row in rows:
            if row.value is not msgspec.UNSET:
                stored.setdefault(row.subject, []).append(Known(Source.AFTER, row.value))
        by_subject: dict[str, list[Known]] = {}
        for subject, value in sent:
            by_subject.setdefault(subject, []).append(value)
        return [_judged(one, by_subject, stored) for one in played]


def damage(before: Iterable[Subject] | None, after: Iterable[Subject] | None) -> tuple[str, ...]:
    """The rows that a change of the schema lost, or gave another value, in words."""
    if before is None or after is None:
        return ()
    found = list(changed_values(before, after))
    words = [f"{subject}: was {was}, is {now}" for subject, was, now in found[:_LISTED]]
    more = len(found) - len(words)
    return (*words, f"and {more:,} more") if more > 0 else tuple(words)


def _sent(one: PlayedRequest) -> tuple[str, Known] | None:
    known = sent_by(one.outcome)
    if known is None or not one.outcome.ok or one.outcome.subject is None:
        return None
    return one.outcome.subject, known


def _judged(
    one: PlayedRequest, sent: dict[str, list[Known]], stored: dict[str, list[Known]]
) -> PlayedRequest:
    subject = one.outcome.subject
    if _sent(one) is None or subject is None:
        return one
    violation = violation_of(subject, [*sent[subject], *stored.get(subject, ())])
    if violation is None:
        return one
    outcome = msgspec.structs.replace(
        one.outcome,
        mismatch=f"{violation.found} is stored instead of {violation.expected}",
    )
    return one._replace(outcome=outcome, invariant=KEPT_VALUE)
