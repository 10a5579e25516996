"""Finds exceptions and panics in a log, line by line. Pure.

The formats are those that the languages print by themselves: Python's traceback (also of exception
groups and chains), the stack of V8 (Node), of the JVM, of Go and of Ruby; what loggers write into a
single line of text (see `error_lines`); and one JSON document a line (pino, structlog,
python-json-logger, logback, zap, slog). A line may begin with what a logger or a process manager
puts before it.
"""

import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from scenarios.evidence.logged_error import Language
from scenarios.recording.error_block import ErrorBlock, completed, is_sqlstate, short
from scenarios.recording.error_lines import error_in_line

_LOOK_BACK = 6
_ERROR_LEVEL = 50  # of pino and bunyan, where 40 is a warning

_TRACEBACK = re.compile(r"^(?P<before>.*?)Traceback \(most recent call last\):\s*$")
_CHAINED = re.compile(
    r"(During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):\s*$"
)
_GROUP_MARGIN = re.compile(r"^[\s|+-]*[|+]-*(?: |$)")
_PYTHON_LAST = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: ?(?P<message>.*))?$")
_MORE_OF_MESSAGE = re.compile(
    r"LINE \d+:|(?:DETAIL|HINT|CONTEXT|QUERY):|\s+\^|\[SQL: |\[parameters: "
    r"|\(Background on this error"
)
"""What Postgres and SQLAlchemy add to a message in lines of their own."""
_PYTHON_PLACE = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<name>.+))?')
_FRAME = re.compile(r"^\s+at (?:async )?\S.*$|^\s+\.{3} \d+ (?:more|common|lines)\b")
_THROWN = re.compile(
    r"(?:^|[\s\]:|])(?:Exception in thread \"[^\"]*\" )?(?:Uncaught )?"
    r"(?P<type>(?:[a-z][\w$]*\.)+[A-Z][\w$]*(?:\.[A-Z][\w$]*)*|(?:[A-Z][\w$.]*)?(?:Error|Exception))"
    r"(?: \[\w+\])?(?:: ?(?P<message>.*)|\s*)$"
)
_THROWN_OTHERWISE = re.compile(
    r"^(?:.*[\]:|] )?(?:Uncaught )?(?P<type>error|[A-Z][\w$]*(?:\.[A-Z][\w$]*)*)(?: \[\w+\])?: ?"
    r"(?P<message>.*)$"
)
"""A class whose name says nothing, at the begin of a line; node-postgres calls its own `error`."""
_CAUSED_BY = re.compile(r"^\s*(?:Caused by: |\[cause\]: )(?P<rest>.*?)\s*\{?\s*$")
_PROPERTY = re.compile(r"^\s+(?:\w+|'[^']+'): .*,?\s*$|^\s*[}\]],?\s*$")
_CODE = re.compile(r"^\s+code: '(?P<code>[0-9A-Z]{5})',?\s*$")
_PANIC = re.compile(r"(?:^|\s)panic(?: serving \S+)?: (?P<message>.*)$")
_GOROUTINE = re.compile(r"^goroutine \d+ \[")
_GO_FRAME = re.compile(r"^\S+\(.*\)$|^\t\S+:\d+(?: \+0x[0-9a-f]+)?$|^created by |^exit status \d+$")
_RUBY = re.compile(
    r"^(?P<place>\S+:\d+):in [`'].+': (?P<message>.*) \((?P<type>[A-Z]\w*(?:::\w+)*)\)\s*$"
)


@dataclass(slots=True)
class _Open:
    """A block whose end has not been seen."""

    block: ErrorBlock
    lines: list[str] = field(default_factory=list)
    margin: str = ""
    finished: bool = False
    chained: bool = False


class ErrorBlocks:
    """Takes the lines of one log in order, and gives the errors in them as they end.

    A block ends with the first line that cannot belong to it, so the last one of a log that is
    silent afterwards is given by `flush`.
    """

    def __init__(self) -> None:
        self._recent: deque[str] = deque(maxlen=_LOOK_BACK)
        self._open: _Open | None = None

    def feed(self, line: str) -> Iterator[ErrorBlock]:
        """Take a line, without its end; the blocks that it ends are given."""
        line = line.rstrip("\r\n")
        if self._open is not None:
            if self._continues(self._open, line):
                self._open.lines.append(line)
                return
            yield from self.flush()
        yield from self._begin(line)
        if line.strip():
            self._recent.append(line)

    @property
    def is_open(self) -> bool:
        """Whether a block has begun whose end has not been seen."""
        return self._open is not None

    @property
    def has_said_all(self) -> bool:
        """Whether the open block has said what went wrong, so that it may be its end."""
        return self._open is not None and bool(self._open.block.last_line)

    def flush(self) -> Iterator[ErrorBlock]:
        """The block that is still open, if it has said what went wrong."""
        opened, self._open = self._open, None
        if opened is None:
            return
        block = opened.block
        if block.type or block.message:
            yield completed(block, opened.lines)

    def _begin(self, line: str) -> Iterator[ErrorBlock]:
        if line.lstrip().startswith("{"):
            block = _from_json(line.strip())
            if block is not None:
                yield block
                return
        traceback = _TRACEBACK.match(line)
        if traceback is not None:
            context = self._recent[-1] if self._recent else ""
            before = traceback["before"].removesuffix("Exception Group ")
            margin = before.removesuffix("  + ")
            self._open = _Open(ErrorBlock("python", context=context), [line], margin)
            return
        if _FRAME.match(line):
            self._open = self._thrown(line)
            return
        if _GOROUTINE.match(line):
            self._open = self._panicked(line)
            return
        ruby = _RUBY.match(line)
        if ruby is not None:
            block = ErrorBlock("ruby", ruby["type"], ruby["message"], place=ruby["place"])
            self._open = _Open(block, [*self._recent, line])
            return
        single = error_in_line(line)
        if single is not None:
            yield completed(single, [*list(self._recent)[-1:], line])

    def _thrown(self, line: str) -> _Open | None:
        """A stack whose first frame this is; its exception stands in one of the lines before."""
        language: Language = "java" if line.startswith("\tat ") else "javascript"
        recent = list(self._recent)
        for pattern in (_THROWN, _THROWN_OTHERWISE):
            for place in range(len(recent) - 1, -1, -1):
                head = pattern.search(recent[place])
                if head is not None:
                    told = [head["message"] or "", *recent[place + 1 :]]
                    block = ErrorBlock(
                        *(language, head["type"], " ".join(told).strip()),
                        context=recent[place],
                        place=line.strip()[3:],
                    )
                    self._recent.clear()
                    return _Open(block, [*recent[place:], line])
        return None

    def _panicked(self, line: str) -> _Open | None:
        lines: list[str] = []
        for before in reversed(self._recent):
            lines.insert(0, before)
            panic = _PANIC.search(before)
            if panic is not None:
                self._recent.clear()
                block = ErrorBlock("go", "panic", panic["message"], context=before)
                return _Open(block, [*lines, line])
        return None

    def _continues(self, opened: _Open, line: str) -> bool:
        match opened.block.language:
            case "python":
                return _python_goes_on(opened, line)
            case "go":
                if opened.block.place is None and line.startswith("\t"):
                    opened.block.place = line.strip().partition(" ")[0]
                return not line.strip() or bool(_GOROUTINE.match(line) or _GO_FRAME.match(line))
            case "ruby":
                return bool(re.match(r"^\s+from |^\s+\d+: from ", line))
        caused = _CAUSED_BY.match(line)
        if caused is not None:
            opened.block.root = short(caused["rest"])
            return True
        code = _CODE.match(line)
        if code is not None and is_sqlstate(code["code"]):
            opened.block.sqlstate = code["code"]
        return bool(_FRAME.match(line) or _PROPERTY.match(line))


def _python_goes_on(opened: _Open, line: str) -> bool:
    """Whether a line belongs to a traceback; takes from it what it says."""
    block = opened.block
    line = line.removeprefix(opened.margin)
    text = _GROUP_MARGIN.sub("", line)
    if opened.finished:
        return _python_chain_goes_on(opened, line, text)
    place = _PYTHON_PLACE.match(text)
    if place is not None:
        name = f" in {place['name']}" if place["name"] else ""
        block.place = f"{place['file']}:{place['line']}{name}"
    if not text.strip() or text[0].isspace():
        return True
    last = _PYTHON_LAST.match(text.strip())
    if last is None:
        return False
    block.type, block.message = last["type"], last["message"] or ""
    opened.finished = True
    return True


def _python_chain_goes_on(opened: _Open, line: str, text: str) -> bool:
    """Whether a line after an exception's own belongs to it: a chain, or what a group holds."""
    block = opened.block
    if not text.strip() or _MORE_OF_MESSAGE.match(text):
        return True
    if _CHAINED.search(text):
        block.root = block.root or short(block.last_line)
        opened.chained = True
        return True
    if opened.chained and _TRACEBACK.match(text):
        opened.finished = opened.chained = False
        return True
    return line.lstrip().startswith(("| ", "+-"))


def _from_json(line: str) -> ErrorBlock | None:
    """An error of a logger that writes JSON; None if the line is none, or tells of no error."""
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(parsed, dict):
        return None
    about: Mapping[str, object] = next(
        (
            parsed[key]
            for key in ("err", "error", "exception", "exc")
            if isinstance(parsed.get(key), dict)
        ),
        {},
    )
    stack = _first(about, "stack", "stack_trace", "traceback") or _first(
        parsed, "stack", "stack_trace", "exc_info", "exception", "traceback", "error"
    )
    level = parsed.get(
        "level", parsed.get("severity", parsed.get("levelname", parsed.get("log.level")))
    )
    if stack is None and "\n" in (text := _first(parsed, "message", "msg") or ""):
        stack = text
    inner = _in_stack(stack) if stack else None
    if not _is_error(level) and inner is None:
        return None
    message = _first(about, "message", "msg") or _first(parsed, "message", "msg", "event") or ""
    cause = _first(parsed, "err", "error", "exception")
    if cause is not None and inner is None and cause not in message:
        message = f"{message}: {cause}" if message else cause
    block = inner or ErrorBlock("json", message=message)
    block.language = "json"
    block.type = _first(about, "type", "name", "class") or block.type
    if about and _first(about, "message", "msg"):
        block.message = message
    code = about.get("code", about.get("sqlstate", parsed.get("sqlstate")))
    if is_sqlstate(code):
        block.sqlstate = str(code)
    block.context = line
    return completed(block, [line]) if block.last_line else None


def _in_stack(stack: str) -> ErrorBlock | None:
    """The error of a stack that stands in one field."""
    blocks = ErrorBlocks()
    found = [block for line in stack.splitlines() for block in blocks.feed(line)]
    found += blocks.flush()
    return found[-1] if found else None


def _first(document: Mapping[str, object], *names: str) -> str | None:
    """The first of the fields that is a text."""
    return next(
        (value for name in names if isinstance(value := document.get(name), str) and value), None
    )


def _is_error(level: object) -> bool:
    if isinstance(level, str):
        return level.lower() in ("error", "err", "fatal", "critical", "panic", "alert", "emergency")
    if isinstance(level, bool) or not isinstance(level, int):
        return False
    return level >= _ERROR_LEVEL
