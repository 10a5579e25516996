"""PURE: errors in the log of an application that somebody else runs: stacks, JSON, plain lines.

A plain line tells of an error by its level alone. Loggers write such a line before a stack, and
then the stack tells more, so a plain line waits for what follows it.
"""

import re
from collections.abc import Iterator

from scenarios.recording.error_block import ErrorBlock, completed
from scenarios.recording.error_blocks import ErrorBlocks

_LEVEL = re.compile(
    r"(?:^|[\s\[(|<])(?:(?:ERROR|CRITICAL|FATAL|SEVERE|EMERGENCY|EMERG|ALERT|PANIC)\b"
    r"|(?<=[\[(<])(?:error|crit|critical|fatal|alert|emerg)(?=[\])>]))"
)
_BETWEEN = re.compile(r"^[\s\])>:|-]+")
_NEW_RECORD = re.compile(r"\d\d:\d\d:\d\d|\b(?:DEBUG|INFO|NOTICE|WARN|WARNING)\b")
_WAITS = 3


class PlainErrors:
    """Takes the lines of one log in order, and gives the errors in them as they end."""

    def __init__(self) -> None:
        self._blocks = ErrorBlocks()
        self._waiting: ErrorBlock | None = None
        self._since = 0

    @property
    def has_said_all(self) -> bool:
        """Whether what is open has said what went wrong, so that it may be its end."""
        return self._waiting is not None or self._blocks.has_said_all

    def feed(self, line: str) -> Iterator[ErrorBlock]:
        """Take a line, without its end; the errors that it ends are given."""
        was_open = self._blocks.is_open
        found = list(self._blocks.feed(line))
        ended = len(found) if was_open else 0
        begun = self._blocks.is_open and (not was_open or bool(found))
        if begun or len(found) > min(ended, 1):
            self._waiting = None  # the line before only announced it
            yield from found
            return
        yield from found
        if self._blocks.is_open:
            return
        plain = plain_error(line)
        if plain is not None:
            yield from self._waited()
            self._waiting, self._since = plain, 0
        elif self._waiting is not None:
            self._since += 1
            if self._since >= _WAITS or _NEW_RECORD.search(line):
                yield from self._waited()

    def flush(self) -> Iterator[ErrorBlock]:
        """What is still open, if it has said what went wrong."""
        yield from self._waited()
        yield from self._blocks.flush()

    def _waited(self) -> Iterator[ErrorBlock]:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            yield waiting


def plain_error(line: str) -> ErrorBlock | None:
    """The error that a line tells by its level; None if it tells of none."""
    found = _LEVEL.search(line)
    if found is None:
        return None
    message = _BETWEEN.sub("", line[found.end() :]).strip()
    if not message:
        return None
    return completed(ErrorBlock("text", message=message, context=line), [line])
