"""The errors in growing logs are recorded once, with the time at which they were written."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.evidence.logged_error import LoggedError
from scenarios.evidence.ndjson import read_lines
from scenarios.recording.replica_logs import LogFollower, ReplicaLogs, stamp_of

LOG = b"""\
2026-01-01T10:00:00.250Z ERROR s1-000012-1 failed
Traceback (most recent call last):
  File "app.py", line 3, in save
    raise ValueError("no")
ValueError: no
INFO served
Traceback (most recent call last):
  File "app.py", line 9, in work
KeyError: 'x'"""


@given(st.lists(st.integers(0, len(LOG)), max_size=6))
def test_it_does_not_matter_how_a_log_arrives(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    """A log that is read in any pieces gives the same errors as one that is read whole."""
    path = tmp_path_factory.mktemp("logs") / "a-1.log"
    follower = LogFollower("a-1", path, 0)
    found = follower.read(1)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(LOG)], strict=True):
        with path.open("ab") as file:
            file.write(LOG[start:end])
        if start < end:
            found += follower.read(1)
    found += follower.close(1)
    assert [one.last_line for one in found] == ["ValueError: no", "KeyError: 'x'"]
    assert {one.source for one in found} == {"a-1"}


def test_a_stamp_is_believed_if_it_can_be_right() -> None:
    """Local time, UTC and zones are understood; a stamp from elsewhere is not believed."""
    now = datetime.now(UTC)
    wall_ns = int(now.timestamp()) * 1_000_000_000
    written = datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC)
    read_ns, offset = 7_000_000_000, 7_000_000_000 - wall_ns - 500_000_000
    expected = read_ns - 500_000_000
    for text in (
        f"{written:%Y-%m-%dT%H:%M:%S}Z ERROR",
        f"[{written:%Y-%m-%d %H:%M:%S},000] ERROR",
        f"{written.astimezone():%Y-%m-%d %H:%M:%S} ERROR",
        f"{written.astimezone():%Y-%m-%dT%H:%M:%S%z} ERROR",
    ):
        assert stamp_of(text, read_ns, offset) == expected
    old = written - timedelta(days=1)
    for text in ("ERROR", f"{old:%Y-%m-%d %H:%M:%S} ERROR", "2026-13-41 10:00:00 ERROR"):
        assert stamp_of(text, read_ns, offset) == read_ns


async def test_logs_are_followed_until_the_end(tmp_path: Path) -> None:
    """A log that appears later is followed as well, and what was written last is not lost."""
    logs: dict[str, Path] = {}
    errors = tmp_path / "errors.ndjson"
    began = time.monotonic_ns()
    task = asyncio.create_task(ReplicaLogs(errors, lambda: logs).follow())
    await asyncio.sleep(0)
    (tmp_path / "b-1.log").write_bytes(LOG)
    logs["b-1"] = tmp_path / "b-1.log"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    found = list(read_lines(errors, LoggedError))
    assert [one.last_line for one in found] == ["ValueError: no", "KeyError: 'x'"]
    assert found[0].request_id == "s1-000012-1"
    assert all(began <= one.at_ns <= time.monotonic_ns() for one in found)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("text", ["0001-01-01 00:00:00 +0000 UTC", "9999-12-31 23:59:59"])
def test_a_date_that_is_no_stamp(text: str, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The zero time of Go, and a date far ahead, are data: the line is of when it was read."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert stamp_of(f"ERROR order until {text}", 5, 0) == 5
    finally:
        monkeypatch.undo()
        time.tzset()
