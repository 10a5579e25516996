"""The same reads through each replica, after the run, as recorded in `reads.ndjson`."""

import msgspec


class Read(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One read of one path, from one replica itself.

    Attributes:
        path: what was read; without the query, which may hold a secret.
        key: names what was read, so that the answers of replicas can be compared.
        replica: who answered.
        status: of the answer; absent if there was none.
        digest: the SHA-256 of its body.
        error: why there was no answer.
    """

    path: str
    key: str
    replica: str
    status: int | None = None
    digest: str | None = None
    error: str | None = None
