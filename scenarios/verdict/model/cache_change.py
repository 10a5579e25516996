"""Keys of a store whose values changed their form during the release."""

import msgspec


class CacheChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A kind of keys whose values are written in another form than before the release.

    Attributes:
        pattern: what the keys have in common, such as `session:*`.
        before: the most frequent form before the release.
        after: the most frequent new form.
        first: when the new form was first seen, in seconds since `origin_ns`.
        version: the version that had begun to serve last by then; absent if it is unknown.
        new: how many of the values that were written in the release have what is new.
        written: how many values were seen to be written in the release.
        sentence: all of that in words.
    """

    pattern: str
    before: str
    after: str
    first: float
    version: str | None = None
    new: int
    written: int
    sentence: str
