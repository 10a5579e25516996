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
        value: what is stored for it, as text; null for NULL; absent if nobody asked for it.
    """

    subject: str
    state: str | None = None
    value: str | msgspec.UnsetType | None = msgspec.UNSET


def as_text(value: object) -> str:
    """A value as it stands in the evidence: booleans as in JSON, all else in its own words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
