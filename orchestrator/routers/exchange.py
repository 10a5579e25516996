"""PURE: what any router's log says of one exchange, in words that are the same for all of them.

A line of a router's own log is translated into a `LogEntry`: its stamps are of the wall clock, and
its backend is called what the router calls it. Together with the machine's monotonic clock and the
names of the replicas it becomes an `Exchange`, the record that the evidence of a run holds.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

Confidence = Literal["certain", "likely", "symptom"]

COMPLETE = "complete"
CLIENT_GONE = "client_gone"
CLIENT_TIMEOUT = "client_timeout"
TUNNEL_ENDED = "tunnel_ended"
UNKNOWN = "unknown"
"""The router ended the exchange, and does not say why."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One exchange.

    Attributes:
        at_ns: when its request had arrived, on the machine's monotonic clock.
        resolution_ns: how exact `at_ns` is.
        request_id: the client's `X-Request-Id`; empty if it sent none.
        method: of the request.
        path: its target without the query.
        status: of the response that was sent; 0 if none was.
        backend: the replica that was asked last; None if none was.
        version: of that replica.
        attempts: how many backends or connections were tried; 0 if none was, None if the router
            does not say.
        end: why it ended: `complete`, `client_gone`, `client_timeout`, `tunnel_ended`, `unknown`,
            or an error type of RFC 9209.
        confidence: how sure the log is of `end`: `certain` when the router says so, `likely` when
            it follows from what it says, `symptom` when it does not tell.
        reason: the router's own words for an exchange that was not complete.
        connect_ns: how long the connect took; 0 on a reused connection; -1 where unknown, as for
            all timers.
        first_byte_ns: from `at_ns` to the response's head.
        total_ns: from `at_ns` to the end.
        reused: whether the connection to the backend had been used before; None where unknown.
        bytes_out: bytes that were sent to the client.
    """

    at_ns: int
    request_id: str
    method: str
    path: str
    status: int
    end: str
    resolution_ns: int = 0
    backend: str | None = None
    version: str | None = None
    attempts: int | None = None
    confidence: Confidence = "certain"
    reason: str | None = None
    connect_ns: int = -1
    first_byte_ns: int = -1
    total_ns: int = -1
    reused: bool | None = None
    bytes_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of a router's log; all that `Exchange` says, but in the router's own terms.

    Attributes:
        at_ns: when the request had arrived, in nanoseconds of Unix time.
        backend: the replica's id or its `host:port`, whichever the router logs.
    """

    at_ns: int
    resolution_ns: int
    request_id: str
    method: str
    path: str
    status: int
    backend: str | None
    attempts: int | None
    end: str
    confidence: Confidence = "certain"
    reason: str | None = None
    connect_ns: int = -1
    first_byte_ns: int = -1
    total_ns: int = -1
    reused: bool | None = None
    bytes_out: int = 0

    @property
    def failed(self) -> bool:
        """Whether it was answered 5xx, or not completely."""
        return self.status >= 500 or self.end not in (COMPLETE, TUNNEL_ENDED)  # noqa: PLR2004 - RFC 9110


Translate = Callable[[str], LogEntry | None]
"""Reads one line of a router's log; None when the line tells of no exchange."""


class Names:
    """Which replica had an address or a name, and when: a port may be used again."""

    def __init__(self) -> None:
        self._since: dict[str, list[tuple[int, str, str]]] = {}

    def add(self, called: str, at_ns: int, replica: str, version: str) -> None:
        """From `at_ns` of Unix time on, this name or address is that replica's."""
        self._since.setdefault(called, []).append((at_ns, replica, version))

    def find(self, called: str | None, at_ns: int) -> tuple[str, str] | None:
        """The replica and its version; the first one that had the name for what came before."""
        known = self._since.get(called) if called is not None else None
        if not known:
            return None
        index = bisect_right(known, at_ns, key=lambda one: one[0])
        _, replica, version = known[max(index - 1, 0)]
        return replica, version


def exchange_of(entry: LogEntry, names: Names, *, offset_ns: int, error_ns: int = 0) -> Exchange:
    """The record of one line.

    Args:
        entry: the line.
        names: the replicas.
        offset_ns: Unix time minus the monotonic clock.
        error_ns: by how much that changed while the router ran.
    """
    found = names.find(entry.backend, entry.at_ns)
    replica, version = found or (entry.backend, None)
    return Exchange(
        at_ns=entry.at_ns - offset_ns,
        resolution_ns=entry.resolution_ns + error_ns,
        request_id=entry.request_id,
        method=entry.method,
        path=entry.path,
        status=entry.status,
        backend=replica,
        version=version,
        attempts=entry.attempts,
        end=entry.end,
        confidence=entry.confidence,
        reason=entry.reason,
        connect_ns=entry.connect_ns,
        first_byte_ns=entry.first_byte_ns,
        total_ns=entry.total_ns,
        reused=entry.reused,
        bytes_out=entry.bytes_out,
    )
