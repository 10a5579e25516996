"""In which forms a store such as Redis holds values, as recorded; never the values themselves."""

import msgspec


class CacheForm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Values that were written since the look before, and that have the same form.

    One line of `cache.ndjson`. A value counts as written if its key is new, if its bytes changed,
    or if the key lives longer than it would have.

    Attributes:
        at_ns: when it was looked, on the machine's monotonic clock.
        pattern: what the keys have in common, such as `session:*`.
        type: what the store calls the type of the value, such as `string` or `hash`.
        form: how the value, or its first part, is written: `json object`, `pickle protocol 5`,
            `gzip`, `number`, `text`, …
        fields: of a JSON object and of a hash: the names of the fields, each with the type of its
            value, such as `amount: number`.
        written: how many values.
    """

    at_ns: int
    pattern: str
    type: str
    form: str
    fields: tuple[str, ...] = ()
    written: int = 1

    @property
    def words(self) -> str:
        """The form in a few words."""
        kind = "" if self.type == "string" else f"{self.type} of "
        fields = f" {{{', '.join(self.fields)}}}" if self.fields else ""
        return f"{kind}{self.form}{fields}"
