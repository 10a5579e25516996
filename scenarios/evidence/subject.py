"""The rows of the traffic's subjects, read from the database itself.

`subjects-before.ndjson` is read before the first request, `subjects-after.ndjson` after the run
has settled. Each row is one line, so a subject with two rows has two lines.
"""

import msgspec


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One row.

    Attributes:
        subject: the identity of the subject, such as an email address.
        state: its state, such as `active`; absent when the schema has none.
    """

    subject: str
    state: str | None = None
