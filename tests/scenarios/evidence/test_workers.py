"""Long files are read in several processes; what comes of it, and of damage, is the same."""

import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.long_run import LongRun
from scenarios.errors import EvidenceError
from scenarios.evidence import ndjson, workers
from scenarios.evidence.ndjson import Lines
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.scratch import FileScratch, MemoryScratch, Scratch
from scenarios.evidence.tick import Tick
from scenarios.evidence.workers import ForkedProcesses, OneProcess, Workers
from scenarios.verdict import Judgement, encode, judge

pytestmark = [
    # The threads of a parallel test run wait; they hold no lock that a copy would want.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a process cannot copy itself here"),
]


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every file is long and there are three processors; the processes that were started."""
    started: list[int] = []
    fork = os.fork

    def forked() -> int:
        process = fork()
        started.append(process)
        return process

    monkeypatch.setattr(ndjson, "LEAST_TO_SPLIT", 1)
    monkeypatch.setattr(workers, "can_fork", lambda: True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(os, "fork", forked)
    return started


def ticks(path: Path, number: int) -> Lines[Tick]:
    """A file with so many ticks."""
    run = RunFolder(path)
    with run.ticks.recorder() as recorder:
        for index in range(number):
            recorder.write(Tick(at_ns=index, seconds=0.25, planned=index, ok=0))
    return run.ticks.read(run.digests()[run.ticks.path.name])


def stamps(records: Iterable[Tick], scratch: Scratch) -> tuple[int, Scratch, list[int]]:
    """Their stamps, in the scratch, with the process that has read them."""
    found = [record.at_ns for record in records]
    piece = scratch.keep(repr(found).encode())
    return piece, scratch, [os.getpid(), len(found)]


@pytest.mark.parametrize("reader", [OneProcess(), ForkedProcesses()])
def test_all_records_are_read_in_order(tmp_path: Path, copies: list[int], reader: Workers) -> None:
    """Each record is taken once, and the parts come in the order of the file."""
    found = reader.read(ticks(tmp_path, 1000), stamps, MemoryScratch())
    said = b"".join(scratch.read(piece) for piece, scratch, _ in found)
    assert said.replace(b"][", b", ") == repr(list(range(1000))).encode()
    alone = isinstance(reader, OneProcess)
    assert len(copies) == (0 if alone else 3)
    assert {process for _, _, (process, _) in found} == ({os.getpid()} if alone else set(copies))


def test_what_was_shared_is_the_same_object(tmp_path: Path, copies: list[int]) -> None:
    """What is found in a copy may refer to objects that the reader has."""
    shared = ["a", "list"]
    found = ForkedProcesses().read(
        ticks(tmp_path, 10), lambda _, __: [shared], MemoryScratch(), [shared]
    )
    assert len(found) == len(copies) == 3
    assert all(one is shared for (one,) in found)


@pytest.mark.parametrize("spoil", ["line", "digest", "cut"])
def test_damage_is_told_as_ever(tmp_path: Path, copies: list[int], spoil: str) -> None:
    """A damaged line is named by its number in the file, whoever met it."""
    lines = ticks(tmp_path, 1000)
    data = lines.path.read_bytes()
    spoilt = {
        "line": data.replace(b'"at_ns":900,', b'"at_ns":"9",'),
        "digest": data.replace(b'"at_ns":900,', b'"at_ns":901,'),
        "cut": data[:-5],
    }
    lines.path.write_bytes(spoilt[spoil])
    message = {"line": "line 901 is damaged", "digest": "SHA-256", "cut": "line 1000 is cut short"}
    with pytest.raises(EvidenceError, match=message[spoil]):
        ForkedProcesses().read(lines, stamps, MemoryScratch())
    assert copies


def test_a_copy_that_is_killed_changes_nothing(tmp_path: Path, copies: list[int]) -> None:
    """This process reads everything itself then, and nothing is left of the copies."""
    here = os.getpid()

    def take(records: Iterable[Tick], _: Scratch) -> list[int]:
        found = [record.at_ns for record in records]
        if os.getpid() != here and 500 in found:
            os.kill(os.getpid(), 9)
        return found

    assert ForkedProcesses().read(ticks(tmp_path, 1000), take, MemoryScratch()) == [
        list(range(1000))
    ]
    assert len(copies) == 3
    for process in copies:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_no_copy_outlives_its_reader(tmp_path: Path) -> None:
    """A copy stops when nobody waits for what it finds."""
    lines = ticks(tmp_path, 1000)
    blocks = workers._while_alive(os.getpid() + 1, lines.blocks(0, lines.path.stat().st_size))
    with pytest.raises(SystemExit):
        next(blocks)


def test_a_short_file_is_read_here(tmp_path: Path) -> None:
    """It is read before a second process would have begun to."""
    found = ForkedProcesses().read(ticks(tmp_path, 10), stamps, MemoryScratch())
    assert [process for _, _, (process, _) in found] == [os.getpid()]


def test_a_process_with_other_threads_does_not_copy_itself() -> None:
    """A copy has none of them, and might wait for a lock that one of them held."""
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        assert not workers.can_fork()
    finally:
        end.set()
        other.join()


@given(lengths=st.lists(st.integers(1, 60), max_size=30), parts=st.integers(1, 7))
@settings(max_examples=50)
def test_parts_are_cut_at_the_ends_of_lines(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], parts: int
) -> None:
    """However long the lines are, the parts have all of them, whole and in order."""
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_text("".join(f'{"{"}"at_ns":{index},"x":"{"y" * length}"{"}"}\n'
                            for index, length in enumerate(lengths)))  # fmt: skip
    lines = Lines(path, dict)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ndjson, "LEAST_TO_SPLIT", 0)
        patched.setattr(ndjson, "_BLOCK", 37)
        found = [
            row["at_ns"] for part in lines.parts(parts) for rows in part.blocks() for row in rows
        ]
        assert found == list(range(len(lengths))) == [row["at_ns"] for row in lines]


@pytest.mark.parametrize("reader", [OneProcess(), ForkedProcesses()])
@pytest.mark.parametrize("killed", [False, True])
def test_work_goes_on_beside(copies: list[int], reader: Workers, *, killed: bool) -> None:
    """Its result is the same, even if the process that did it is killed."""
    here = os.getpid()

    def work(scratch: Scratch) -> bytes:
        if killed and os.getpid() != here:
            os.kill(os.getpid(), 9)
        return scratch.read(scratch.keep(b"found"))

    with reader.beside(work, MemoryScratch(), long=True) as found:
        assert found() == b"found"
    assert len(copies) == isinstance(reader, ForkedProcesses)


def test_work_that_nobody_asks_for_is_ended(copies: list[int]) -> None:
    """When the context closes, the process is gone, whatever it was doing."""
    with ForkedProcesses().beside(lambda _: time.sleep(60), MemoryScratch(), long=True):
        pass
    (process,) = copies
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_copies_reach_the_same_verdict(
    tmp_path: Path, copies: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict and each cause are those that one process reaches."""
    monkeypatch.setattr(import_module("scenarios.verdict.judge"), "LONG", 1)
    LongRun(6000, 300).write(tmp_path)
    run = RunFolder(tmp_path)

    def told(found: Judgement) -> Sequence[tuple[Outcome, object]]:
        every = (*found.failed, *found.slow)
        return [(one.failure.outcome, one.finding) for one in every]

    several, alone = (
        judge(replace(run.evidence(), workers=one, scratch=FileScratch(10_000)))
        for one in (ForkedProcesses(), OneProcess())
    )
    # Three for each of requests, rows before and after, mails, and the balancer's log; one checks
    # the data, and one compares the log.
    assert len(copies) == 17
    assert several.verdict.requests.failed > 200
    assert encode(several.verdict) == encode(alone.verdict)
    assert told(several) == told(alone)
