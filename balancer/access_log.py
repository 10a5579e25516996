"""The access log: one JSON line for each exchange, written without blocking the event loop.

Lines are gathered in memory and written by a thread. If the disk cannot follow, lines beyond a
bound are dropped and counted, since a stuck disk must not take the service down; the count is in
`/statistics` and `/metrics`.
"""

import logging
import os
import threading
import time
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from balancer.errors import StartError

_log = logging.getLogger("balancer")
_MAX_PENDING = 200_000

# How an exchange ended, where no error type of RFC 9209 says it.
COMPLETE = "complete"
CLIENT_GONE = "client_gone"
CLIENT_TIMEOUT = "client_timeout"
TUNNEL_ENDED = "tunnel_ended"
STOPPED = "stopped"


class AccessRecord(msgspec.Struct, gc=False):
    """One exchange.

    Attributes:
        at_ns: when its head had arrived, on the monotonic clock.
        request_id: the client's `X-Request-Id`, or the one that it was given.
        method: of the request.
        path: its target without the query.
        status: of the response that was sent; 0 if none was.
        backend: the id of the last backend that was tried; None if there was none.
        version: that backend's version.
        wait_ns: from `at_ns` until a backend was chosen for the last time; -1 if none was.
        connect_ns: how long the last connect took; 0 on a reused connection; -1 without one.
        first_byte_ns: from `at_ns` to the response's head; -1 if there was none.
        total_ns: from `at_ns` to the end.
        reused: whether the connection to the backend had been used before.
        attempts: how many backends or connections were tried.
        bytes_out: body bytes relayed to the client.
        end: why it ended: `complete`, `client_gone`, `client_timeout`, `tunnel_ended`, `stopped`
            (the balancer's own end came first), or an error type of RFC 9209.
        client_connection: `new` or `reused`.
        client: the address of the client.
        resent: whether it was sent again, since a backend closed the connection before it answered.
        time: the wall clock at `at_ns`, in UTC (RFC 3339), for people; set when it is written.
    """

    at_ns: int
    request_id: str
    method: str
    path: str
    status: int
    backend: str | None
    version: str | None
    wait_ns: int
    connect_ns: int
    first_byte_ns: int
    total_ns: int
    reused: bool
    attempts: int
    bytes_out: int
    end: str
    client_connection: str
    client: str
    resent: bool = False
    time: str = ""


class AccessLog:
    """Appends lines to a file from its own thread.

    It is a context manager, and writes all lines before it ends.

    Attributes:
        dropped: lines that were dropped because the disk was too slow.
        failed: the last error of the disk; None if there was none.
    """

    def __init__(self, path: Path) -> None:
        """Open the file for appending.

        Raises:
            StartError: it cannot be opened.
        """
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StartError(f"--access-log {path}: {error.strerror}") from error
        self.dropped = 0
        self.failed: str | None = None
        self._encoder = msgspec.json.Encoder()
        self._pending: list[AccessRecord] = []
        self._wake = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over = True
        self._wake.set()
        self._thread.join()
        os.close(self._file)

    def add(self, entry: AccessRecord) -> None:
        """Take one line."""
        if len(self._pending) < _MAX_PENDING:
            self._pending.append(entry)
        else:
            self.dropped += 1

    def flush(self) -> None:
        """Let the thread write what was added; called a few times a second."""
        if self._pending:
            self._wake.set()

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            over = self._over
            batch, self._pending = self._pending, []
            # Small portions, so that the thread gives the interpreter back often.
            for start in range(0, len(batch), 100):
                try:
                    self._append(batch[start : start + 100])
                except Exception:  # noqa: BLE001 - logged; it must not end the rest
                    # The thread must go on, or no line would ever be written again.
                    self.dropped += len(batch[start : start + 100])
                    _log.exception("writing access lines failed unexpectedly")
            if over and not self._pending:
                return

    def _append(self, entries: list[AccessRecord]) -> None:
        clock = time.time_ns() - time.monotonic_ns()
        for one in entries:
            one.time = _rfc_3339(clock + one.at_ns)
        data = memoryview(self._encoder.encode_lines(entries))
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self.dropped += len(entries)
            self.failed = error.strerror


def _rfc_3339(unix_ns: int) -> str:
    seconds, rest = divmod(unix_ns, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06d}Z"


@lru_cache(maxsize=64)
def _second(unix_seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_seconds))
