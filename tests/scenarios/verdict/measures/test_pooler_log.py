"""PgBouncer's log, as several versions write it."""

from datetime import UTC, datetime

from scenarios.evidence.pooler import PoolerMessage, pooler_messages
from scenarios.verdict.measures.pooler_log import complaints
from tests.support.evidence import SECOND, Evidence, at

LOG = """\
2026-11-28 06:11:09.809 UTC [3319] LOG kernel file descriptor limit: 1024 (hard: 524288)
2026-11-28 06:11:09.810 UTC [3319] LOG C-0x55d5: app/x@127.0.0.1:5 login attempt: db=app user=x
2026-11-28 06:11:10.000 UTC [3319] WARNING C-0x55d5: app/x@127.0.0.1:5 pooler error: query_wait_timeout
2026-11-28 06:11:11.000 UTC [3319] WARNING C-0x66aa: app/y@[::1]:7 pooler error: query_wait_timeout
2026-11-28 06:11:12.000 UTC [3319] ERROR S-0x77: app/x@127.0.0.1:9 got packet 'E' from server when not linked
2026-11-28 06:11:12.500 UTC [3319] FATAL cannot load config file
not a line of its log
"""  # noqa: E501 - as it is written


def test_only_complaints_are_kept_without_whose_they_are() -> None:
    """Reports of logins are none; the same complaint of two clients is one text."""
    offset = 5 * SECOND
    found = list(pooler_messages(LOG.splitlines(), offset))
    assert [(one.level, one.text) for one in found] == [
        ("WARNING", "pooler error: query_wait_timeout"),
        ("WARNING", "pooler error: query_wait_timeout"),
        ("ERROR", "got packet 'E' from server when not linked"),
        ("FATAL", "cannot load config file"),
    ]
    stamp = datetime(2026, 11, 28, 6, 11, 10, tzinfo=UTC).timestamp()
    assert found[0].at_ns == round(stamp * 1000) * 1_000_000 + offset


def test_complaints_are_counted_and_told(clean_run: Evidence) -> None:
    """The most frequent one first; without a pooler there is none."""
    texts = ["a", "b", "b"]
    messages = [
        PoolerMessage(at_ns=at(number), level="ERROR", text=text)
        for number, text in enumerate(texts)
    ]
    first, second = complaints(messages, at(0))
    assert (first.text, first.count, first.first, first.last) == ("b", 2, 1.0, 2.0)
    assert second.sentence == "the pooler logged once, from +0.00 s on: a"
    assert complaints([], 0) == ()
    assert clean_run.judge().pooler == ()
