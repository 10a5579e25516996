"""What a pooler between the application and Postgres complained of: `pooler.ndjson`."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

_LINE = re.compile(
    r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC \[\d+\] "
    r"(?P<level>WARNING|ERROR|FATAL) (?P<text>.*)"
)
_WHO = re.compile(r"^[CS]-0x[0-9a-f]+: \S+ ")
_AGE = re.compile(r" \(age=[^)]*\)")


class PoolerMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of PgBouncer that is no mere report.

    Attributes:
        at_ns: when it was logged.
        level: `WARNING`, `ERROR` or `FATAL`.
        text: the message, without the connection that it is about.
    """

    at_ns: int
    level: str
    text: str


def pooler_messages(lines: Iterable[str], offset_ns: int) -> Iterator[PoolerMessage]:
    """The messages in PgBouncer's log, which has its times in UTC.

    Args:
        lines: of the log.
        offset_ns: what is added to the time since the epoch.
    """
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            continue
        at = datetime.fromisoformat(found["at"]).replace(tzinfo=UTC)
        text = _AGE.sub("", _WHO.sub("", found["text"])).strip()
        yield PoolerMessage(
            at_ns=round(at.timestamp() * 1000) * 1_000_000 + offset_ns,
            level=found["level"],
            text=text,
        )
