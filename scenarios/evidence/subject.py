"""What the database holds about the subjects of the traffic, read straight from it.

`subjects-before.ndjson` is read before the first request, `subjects-after.ndjson` after the run
has settled. One line a row: a subject that is there twice has two lines.
"""

import msgspec


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One row.

    Attributes:
        subject: what identifies it, such as an email address.
        state: its state, such as `active`; absent when the schema has none.
    """

    subject: str
    state: str | None = None
