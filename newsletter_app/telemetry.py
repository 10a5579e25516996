"""JSON logs, one line each, that join with the evidence of the load balancer by request id.

No line above DEBUG holds a token, an email address or a password: lines are made of fields that
are known to hold none, and an exception is logged by its type and place, without its message,
which often repeats the data that it choked on.
"""

import json
import logging
import re
import sys
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TextIO

LOG = logging.getLogger("newsletter_app")
"""What this package logs with; fields go into `extra={"fields": {...}}`."""

_REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
_SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def adopt_request_id(given: str | None) -> str:
    """Make this the request id of the current task's log lines, and return it.

    A new one is made where none is given or where it could break a log line or a mail's header.
    """
    request_id = given if given and _SAFE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    _REQUEST_ID.set(request_id)
    return request_id


@contextmanager
def about_request(request_id: str) -> Iterator[None]:
    """Log lines of the block bear this request id: it is work that an earlier request led to."""
    token = _REQUEST_ID.set(request_id)
    try:
        yield
    finally:
        _REQUEST_ID.reset(token)


def current_request_id() -> str:
    """The id that `adopt_request_id` gave to the current task, or a new one."""
    return _REQUEST_ID.get() or adopt_request_id(None)


class JsonLines(logging.Formatter):
    """One JSON object a line: `at_ns` (monotonic), `level`, `message`, ids, and the fields."""

    def __init__(self, *, replica: str, version: str) -> None:
        super().__init__()
        self._origin = {"replica": replica, "version": version}

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line: dict[str, object] = {
            "at_ns": time.monotonic_ns(),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **self._origin,
        }
        if request_id := _REQUEST_ID.get():
            line["request_id"] = request_id
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0]:
            kind, error, trace = record.exc_info
            line["exception"] = kind.__name__
            line["stack"] = _places(trace)
            if LOG.isEnabledFor(logging.DEBUG):
                line["exception_message"] = str(error)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logs(*, replica: str, version: str, level: int, stream: TextIO | None = None) -> None:
    """Send every logger's lines to the stream (standard error), as JSON."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(replica=replica, version=version))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # Below WARNING the libraries tell of their insides, not of this application's.
    for library in ("asyncio", "aiohttp", "aiosmtplib"):
        logging.getLogger(library).setLevel(max(level, logging.WARNING))


def _places(trace: TracebackType | None) -> list[str]:
    return [
        f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(trace)
    ]
