"""The same reads through each replica, after the run, as recorded in `reads.ndjson`."""

import msgspec


class Read(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One read of one path, from one replica itself.

    Attributes:
        path: the path, without the query, which may contain a secret.
        key: the same for all reads whose answers are compared.
        replica: the replica that was read from.
        status: the status of the answer; absent if there was none.
        digest: the SHA-256 of its body.
        error: why there was no answer.
    """

    path: str
    key: str
    replica: str
    status: int | None = None
    digest: str | None = None
    error: str | None = None
