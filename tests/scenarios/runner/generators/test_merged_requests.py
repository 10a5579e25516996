"""The requests of a generator become the run's, or are refused as damaged."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from scenarios.evidence.outcome import Outcome
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.run_folder import RunFolder
from scenarios.runner.generators.clock_track import RoundTrip, reading_of, track_of
from scenarios.runner.generators.merged_requests import (
    DamagedError,
    append_requests,
    on_run_clock,
)

CLOCK = track_of(reading_of([RoundTrip(1000, 0, 1000)]), None)
LINE = Outcome(
    request_id="s1-000000-1",
    journey="j",
    endpoint="GET /",
    connection="new",
    planned_ns=10,
    sent_ns=11,
    first_byte_ns=15,
    done_ns=20,
    expected=(200,),
    status=200,
)
NEVER_SENT = Outcome(
    request_id="s1-000001-1",
    journey="j",
    endpoint="GET /",
    connection="new",
    planned_ns=10,
    done_ns=20,
    expected=(200,),
    error="undispatched",
)


def test_every_stamp_is_moved_and_nothing_else() -> None:
    """A request that was never sent has no times of sending."""
    moved = on_run_clock(LINE, CLOCK)
    assert (moved.planned_ns, moved.sent_ns, moved.first_byte_ns, moved.done_ns) == (
        *(1010, 1011, 1015),
        1020,
    )
    stamps = {"planned_ns": 10, "sent_ns": 11, "first_byte_ns": 15, "done_ns": 20}
    assert msgspec.structs.replace(moved, **stamps) == LINE
    moved = on_run_clock(NEVER_SENT, CLOCK)
    assert (moved.planned_ns, moved.sent_ns, moved.first_byte_ns) == (1010, None, None)


def evidence(folder: Path, *, cut: int = 0) -> tuple[Path, str]:
    """What a generator recorded, without its last bytes; and the SHA-256 of all of it."""
    lines = b"".join(msgspec.json.encode(one) + b"\n" for one in (LINE, NEVER_SENT))
    path = folder / "generator-1"
    path.write_bytes(lines[: len(lines) - cut])
    return path, hashlib.sha256(lines).hexdigest()


def append(folder: Path, path: Path, sha256: str | None) -> list[str]:
    requests = RunFolder(folder).requests
    with Recorder[Outcome](requests.path) as target:
        count = append_requests(path, CLOCK, target, sha256=sha256)
    found = [one.request_id for one in requests.read()]
    assert count == len(found)
    return found


def test_all_requests_are_added(tmp_path: Path) -> None:
    """In the order in which the generator recorded them."""
    assert append(tmp_path, *evidence(tmp_path)) == ["s1-000000-1", "s1-000001-1"]


@pytest.mark.parametrize("cut", [1, 50])
def test_evidence_that_is_cut_is_noticed(tmp_path: Path, cut: int) -> None:
    """A missing byte is enough: the SHA-256 is another one."""
    with pytest.raises(DamagedError, match="another SHA-256"):
        append(tmp_path, *evidence(tmp_path, cut=cut))


def test_what_came_of_a_lost_generator_is_kept(tmp_path: Path) -> None:
    """But for the line in which it was cut off."""
    path, _ = evidence(tmp_path, cut=5)
    assert append(tmp_path, path, None) == ["s1-000000-1"]


def test_a_line_that_is_none_is_named(tmp_path: Path) -> None:
    """By its number."""
    path, _ = evidence(tmp_path)
    path.write_bytes(path.read_bytes() + b"{}\n")
    with pytest.raises(DamagedError, match="line 3 of its evidence"):
        append(tmp_path, path, None)
