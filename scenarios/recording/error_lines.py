"""Errors that a log tells in a single line of text. Pure.

Rails, Sinatra, Puma and Sidekiq name the class and the message of an exception. Go has no classes:
its loggers write `level=error` (logfmt: slog, logrus), and its drivers for Postgres say `pq: …` or
`… (SQLSTATE 42703)`.
"""

import re

from scenarios.recording.error_block import ErrorBlock

_CLASS = r"[A-Z]\w*(?:::[A-Z]\w*)+"
_RUBY_FORMS = (
    # Rails: ActiveRecord::StatementInvalid (PG::UndefinedColumn: ERROR:  column … does not exist):
    re.compile(rf"(?:^|\s)(?P<type>{_CLASS}) \((?P<message>.*)\):?\s*$"),
    # The same where the message has more lines.
    re.compile(rf"(?:^|\s)(?P<type>{_CLASS}) \((?P<message>{_CLASS}: [^)]*)$"),
    # Sinatra: 2026-11-28 02:00:00 - NoMethodError - undefined method …:
    re.compile(
        rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d - (?P<type>{_CLASS}|[A-Z]\w*Error) - "
        r"(?P<message>.*?):?\s*$"
    ),
    # Puma: Rack app ("GET /orders" - (127.0.0.1)): #<NoMethodError: undefined method …>
    re.compile(
        r"Rack app.*#<(?P<type>[A-Z]\w*(?:::\w+)*): (?P<message>.*?)>?\s*$"
    ),
    # Sidekiq: WARN: ActiveRecord::StatementInvalid: PG::UndefinedColumn: ERROR:  column …
    re.compile(
        rf"\b(?:WARN|ERROR|FATAL)\b.*?\s(?P<type>{_CLASS}|NoMethodError): (?P<message>.+)$"
    ),
)  # fmt: skip
_LEVEL = re.compile(r"(?i)(?:^|\s)(?:level|lvl)=\"?(?:error|err|fatal|panic|critical)\"?(?:\s|$)")
_FIELD = re.compile(r"(?:^|\s)(?P<key>[\w.]+)=(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>\S+))")
_PGX = re.compile(r"(?:ERROR|FATAL|PANIC): (?P<message>.+?) \(SQLSTATE (?P<state>[0-9A-Z]{5})\)")
_PQ = re.compile(r"(?:^|\s)pq: (?P<message>.+)$")


def error_in_line(line: str) -> ErrorBlock | None:
    """The error that a line tells by itself; None if it tells of none."""
    if _LEVEL.search(line):
        return _logfmt(line)
    for pattern, kind in ((_PGX, "pgx"), (_PQ, "pq")):
        found = pattern.search(line)
        if found is not None:
            state = found.groupdict().get("state")
            return ErrorBlock("go", kind, found["message"], sqlstate=state, context=line)
    for form in _RUBY_FORMS:
        ruby = form.search(line)
        if ruby is not None:
            return ErrorBlock("ruby", ruby["type"], ruby["message"], context=line)
    return None


def _logfmt(line: str) -> ErrorBlock | None:
    fields = {
        one["key"]: one["plain"] or re.sub(r"\\(.)", r"\1", one["quoted"] or "")
        for one in _FIELD.finditer(line)
    }
    said = [
        next((fields[key] for key in keys if fields.get(key)), None)
        for keys in (("msg", "message"), ("err", "error", "exception"))
    ]
    message = ": ".join(part for part in said if part)
    return ErrorBlock("go", message=message, context=line) if message else None
