"""What is recorded can be read back, whole lines only."""

import os
from pathlib import Path

import pytest

from scenarios.errors import EvidenceError
from scenarios.evidence.mail import Mail
from scenarios.evidence.recorder import Recorder
from scenarios.evidence.run_folder import RunFolder

MAIL = Mail(at_ns=5, recipient="ü@example.com", links=("http://h/a\n",))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """Every line comes back as it went in, in order, after the block."""
    path = tmp_path / "mails.ndjson"
    mails = [Mail(at_ns=number, recipient="x@example.com") for number in range(1000)]
    with Recorder[Mail](path) as recorder:
        for mail in [*mails, MAIL]:
            recorder.write(mail)
    assert list(RunFolder(tmp_path).mails.read()) == [*mails, MAIL]
    assert recorder.count == 1001


def test_half_a_character_is_replaced(tmp_path: Path) -> None:
    r"""A log in JSON can name half a character, `"\ud83d"`; this line and the next are kept."""
    path = tmp_path / "mails.ndjson"
    with Recorder[Mail](path) as recorder:
        recorder.write(MAIL)
        recorder.write(Mail(at_ns=6, recipient="x@example.com", links=("ü\ud83d",)))
        recorder.write(MAIL)
    first, second, third = RunFolder(tmp_path).mails.read()
    assert first == third == MAIL
    assert second == Mail(at_ns=6, recipient="x@example.com", links=("ü?",))


def test_a_flush_puts_whole_lines_on_disk(tmp_path: Path) -> None:
    """After a flush everything so far can be read, while the file is still being written."""
    path = tmp_path / "mails.ndjson"
    with Recorder[Mail](path) as recorder:
        recorder.write(MAIL)
        assert list(RunFolder(tmp_path).mails.read()) == []
        recorder.flush()
        assert list(RunFolder(tmp_path).mails.read()) == [MAIL]


def test_memory_is_bounded_without_a_flush(tmp_path: Path) -> None:
    """A buffer that is full is written by itself."""
    path = tmp_path / "mails.ndjson"
    with Recorder[Mail](path) as recorder:
        for _ in range(10_000):
            recorder.write(MAIL)
        assert path.stat().st_size > 0
        assert len(recorder._buffer) < 300_000
    assert len(list(RunFolder(tmp_path).mails.read())) == 10_000


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """The error says which file, and why."""
    path = tmp_path / "missing" / "mails.ndjson"
    with pytest.raises(EvidenceError, match=f"^{path}: No such file or directory$"):
        Recorder[Mail](path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110 - a device
def test_a_full_disk_is_an_error() -> None:
    """Lines that cannot be written are never lost in silence."""
    recorder = Recorder[Mail](Path("/dev/full"))
    recorder.write(MAIL)
    with pytest.raises(EvidenceError, match=r"^/dev/full: No space left on device$"):
        recorder.flush()
    with pytest.raises(EvidenceError, match=r"^/dev/full: No space left on device$"):
        recorder.close()
    assert recorder._file.closed
