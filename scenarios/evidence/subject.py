"""What the database holds about the subjects of the traffic, read straight from it.

`subjects-before.ndjson` is read before the first request, `subjects-after.ndjson` after the run
has settled. One line a row: a subject that is there twice has two lines.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from scenarios.evidence.ndjson import read_lines


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row.

    Attributes:
        subject: what identifies it, such as an email address.
        state: its state, such as `active`; absent when the schema has none.
    """

    subject: str
    state: str | None = None


def read_subjects(path: Path) -> Iterator[Subject]:
    """Read a subjects file, line by line.

    Raises:
        EvidenceError: a line is not a Subject, or the last one is cut short.
    """
    yield from read_lines(path, Subject)
