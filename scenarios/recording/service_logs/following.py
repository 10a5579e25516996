"""Follows the logs of a watched service: what they say of requests, and the errors in them."""

import glob
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, cast

from msgspec.structs import replace

from orchestrator.errors import EnvironmentFailure
from scenarios.errors import UsageError
from scenarios.evidence.logged_error import LoggedError
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.service_line import Family, ServiceLine
from scenarios.recording.error_block import request_id_in
from scenarios.recording.plain_errors import PlainErrors
from scenarios.recording.replica_logs import told
from scenarios.recording.service_logs.growing_file import GrowingFile
from scenarios.recording.service_logs.lines import APPLICATION, KINDS, read_line

MOST_LINES: Final = 500_000
"""So many lines of all logs are kept."""

_LOOKED_AT: Final = 64 * 1024
_KNOWN = "nginx, HAProxy, Envoy, Traefik, Caddy, or an application's"
_APPLICATION_LIKE = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d|\d\d:\d\d:\d\d|Traceback \(most recent call last\):"
    r"|\b(?:DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)\b|\blevel=|^\s*\{\s*\""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSource:
    """A log that is followed.

    Attributes:
        name: what the evidence calls it.
        path: its file.
        kind: whose it is: a family of proxies, or `app`; None: each line is looked at.
        has_requests: whether it has lines of requests; None: it is empty, so nobody knows.
    """

    name: str
    path: Path
    kind: str | None = None
    has_requests: bool | None = None


def sources_of(given: Sequence[str]) -> tuple[LogSource, ...]:
    """The logs that `--logs` names; see that each can be read and understood.

    Args:
        given: each a path or a pattern such as `/var/log/nginx/*.log`, perhaps with a kind before
            it, such as `nginx:access.log`.

    Raises:
        UsageError: a file is not there, is no log, or is no log of that kind.
    """
    named: list[tuple[str, Path, str | None]] = []
    for text in given:
        kind, separator, rest = text.partition(":")
        known = bool(separator) and kind in KINDS
        pattern = rest if known else text
        paths = [Path(one) for one in sorted(glob.glob(pattern))] or [Path(pattern)]  # noqa: PTH207 - a pattern may be absolute
        named += [(f"--logs {text}", path, kind if known else None) for path in paths]
    requests = [_check(flag, path, whose) for flag, path, whose in named]
    names = Counter(path.name for _, path, _ in named)
    return tuple(
        LogSource(
            name=path.name if names[path.name] == 1 else str(path),
            path=path,
            kind=whose,
            has_requests=has_requests,
        )
        for (_, path, whose), has_requests in zip(named, requests, strict=True)
    )


def _tail(flag: str, path: Path) -> bytes:
    """The end of a log.

    Raises:
        UsageError: it cannot be read, or is no log.
    """
    if path.is_dir():
        raise UsageError(f"{flag}: {path} is a folder; name its files, such as {path}/*.log")
    if not path.exists():
        raise UsageError(f"{flag}: there is no such file")
    if not path.is_file():
        raise UsageError(f"{flag}: {path} is no regular file, so it cannot be followed")
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _LOOKED_AT, 0))
            content = file.read()
    except OSError as error:
        raise UsageError(f"{flag}: {error.strerror}") from error
    if b"\0" in content:
        raise UsageError(f"{flag}: this is no log but a binary file")
    return content


def _check(flag: str, path: Path, kind: str | None) -> bool | None:
    """See that a log can be read and understood; returns whether it has lines of requests."""
    content = _tail(flag, path)
    lines = [one for one in content.decode("utf-8", "replace").splitlines() if one.strip()]
    if kind == APPLICATION:
        return False
    if not lines:
        return None  # what is written later is looked at line by line
    family = None if kind is None else cast(Family, kind)
    read = [read_line(line, time.time_ns(), family) for line in lines]
    if any(one is not None and one.tells == "access" for one in read):
        return True
    if any(read) or any(_is_known(line, family) for line in lines):
        return False
    last = lines[-1].strip()[:80]
    if kind is not None:
        raise UsageError(f"{flag}: no line is of {kind} in a format that is known; it ends: {last}")
    raise UsageError(
        f"{flag}: no line is of a log that is known ({_KNOWN}); if it is an application's, say "
        f"app:{path}; it ends: {last}"
    )


def _is_known(line: str, family: Family | None) -> bool:
    if _is_of(line, family):
        return True
    return family is None and _APPLICATION_LIKE.search(line) is not None


_OWN_LINES = {
    "nginx": re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[\w+\] \d+#\d+: "),
    "haproxy": re.compile(
        r"haproxy\[\d+\]|^\[(?:NOTICE|WARNING|ALERT)\]|^(?:Server|Proxy|backend) "
    ),
    "envoy": re.compile(r"^\[\d{4}-\d\d-\d\d [\d:.]+\]\[\d+\]\["),
    "traefik": re.compile(
        r"^\d{4}-\d\d-\d\dT\S+ (?:DBG|INF|WRN|ERR|FTL) |\"level\":\"\w+\".*\"time\":"
    ),
    "caddy": re.compile(r'^\{"level":"\w+","ts":'),
}
"""What these programs write that is about no request."""


_OF_PROXIES = tuple(_OWN_LINES[family] for family in ("nginx", "haproxy", "envoy"))
"""Those of them that no application writes."""


def _is_of(line: str, family: Family | None) -> bool:
    return family is not None and _OWN_LINES[family].search(line) is not None


class ServiceLog:
    """One log as it grows: its lines about requests are recorded, the errors in it are given."""

    def __init__(
        self,
        source: LogSource,
        recorder: Recorder[ServiceLine],
        *,
        prefix: str,
        wall_to_monotonic_ns: int,
    ) -> None:
        """Begin at the log's end.

        Args:
            source: the log.
            recorder: takes the lines about requests.
            prefix: what the ids of the run's requests begin with.
            wall_to_monotonic_ns: what to add to nanoseconds since 1970 to get the monotonic clock.

        Raises:
            EnvironmentFailure: it cannot be opened.
        """
        self.source = source.name
        self._path = source.path
        try:
            self._file = GrowingFile(source.path)
        except OSError as error:
            raise EnvironmentFailure(f"the log {self._path}: {error.strerror}") from error
        self._recorder = recorder
        self._prefix = prefix
        self._wall_to_monotonic_ns = wall_to_monotonic_ns
        self._reads_requests = source.kind != APPLICATION
        self._family = None if source.kind in (None, APPLICATION) else cast(Family, source.kind)
        self._blocks = PlainErrors()
        self._latest_ns: int | None = None
        self._requests = source.has_requests

    @property
    def has_requests(self) -> bool | None:
        """Whether it has lines of requests; None: nothing was written yet, so nobody knows."""
        return self._requests

    def has_reached(self, at_ns: int) -> bool:
        """Whether its lines of requests have come as far as this instant, on the monotonic clock.

        A proxy may write its lines in bursts: Envoy does so every ten seconds.
        """
        return self._latest_ns is not None and self._latest_ns >= at_ns

    def read(self, now_ns: int) -> list[LoggedError]:
        """The errors in what was written since the last time.

        Args:
            now_ns: the instant, on the monotonic clock.

        Raises:
            EnvironmentFailure: the log cannot be read any more.
        """
        found: list[LoggedError] = []
        grown = False
        try:
            for line in self._file.lines():
                grown = True
                found += self._errors_in(line, now_ns)
        except OSError as error:
            raise EnvironmentFailure(f"the log {self._path}: {error.strerror}") from error
        if not grown and self._blocks.has_said_all:
            found += self._told(now_ns)
        self._recorder.flush()
        return found

    def close(self, now_ns: int) -> list[LoggedError]:
        """The errors in what is left."""
        try:
            found = [one for line in self._file.rest() for one in self._errors_in(line, now_ns)]
        except OSError as error:
            raise EnvironmentFailure(f"the log {self._path}: {error.strerror}") from error
        return found + self._told(now_ns)

    def _errors_in(self, line: str, now_ns: int) -> Iterator[LoggedError]:
        if self._take(line, now_ns) or self._family is not None:
            return
        if any(pattern.search(line) for pattern in _OF_PROXIES):
            return
        for block in self._blocks.feed(line):
            yield told(block, self.source, now_ns, self._wall_to_monotonic_ns)

    def _told(self, now_ns: int) -> list[LoggedError]:
        return [
            told(block, self.source, now_ns, self._wall_to_monotonic_ns)
            for block in self._blocks.flush()
        ]

    def _take(self, line: str, now_ns: int) -> bool:
        """Record what a line says of a request; returns whether it is about one, and no more."""
        if not self._reads_requests:
            return False
        found = read_line(line, now_ns - self._wall_to_monotonic_ns, self._family)
        if found is None:
            return False
        if found.tells == "access":
            self._requests = True
            self._latest_ns = max(
                self._latest_ns or 0,
                found.at_ns + found.resolution_ns + self._wall_to_monotonic_ns,
            )
        request_id = request_id_in(line)
        unexpected = found.failed or found.status >= HTTPStatus.BAD_REQUEST
        ours = request_id.startswith(self._prefix) if request_id else unexpected
        if ours and self._recorder.count < MOST_LINES:
            self._recorder.write(
                replace(
                    found,
                    source=self.source,
                    at_ns=found.at_ns + self._wall_to_monotonic_ns,
                    request_id=request_id,
                )
            )
        # An application may log its requests in JSON, each with the exception that it raised.
        return not (found.family == "nginx" and found.status and line.rstrip().endswith("}"))
