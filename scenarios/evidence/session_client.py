"""Whose sessions of the database there were, as recorded in `sessions.ndjson`.

The server's log and its lists of locks name a session by its process and by the port of its client.
Which replica that client is, only the client's machine knows.
"""

import msgspec


class SessionClient(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One session and the replica whose process is its client.

    Attributes:
        at_ns: when it was first seen.
        pid: the process id of the server's backend.
        port: the client's port; absent for a connection over a Unix socket, which has none.
        application: its `application_name`.
        replica: the replica; absent if no process of a replica has that socket.
    """

    at_ns: int
    pid: int
    port: int | None = None
    application: str = ""
    replica: str | None = None
