"""A log is followed from its end on, through everything that rotates logs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.recording.service_logs import growing_file
from scenarios.recording.service_logs.growing_file import GrowingFile, LineBuffer


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r")), max_size=6),
    st.data(),
)
def test_lines_come_out_whole(lines: list[str], data: st.DataObject) -> None:
    """However the bytes are cut, the same lines come out; the last one only when it is over."""
    content = "\n".join(lines).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    for fed in (pieces, [bytes([one]) for one in content]):
        buffer = LineBuffer()
        found = [line for piece in fed for line in buffer.feed(piece)]
        assert found == content.decode().split("\n")[:-1]
        assert [*found, *buffer.flush()] == content.decode().split("\n")[: len(found)] + [
            one for one in content.decode().split("\n")[-1:] if one
        ]


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_what_was_there_is_left_alone(tmp_path: Path) -> None:
    """Only what is written from now on is read; a line without its end waits for it."""
    log = tmp_path / "access.log"
    log.write_text("before\n")
    file = GrowingFile(log)
    assert list(file.lines()) == []
    append(log, "one\ntw")
    assert list(file.lines()) == ["one"]
    append(log, "o\n")
    assert list(file.lines()) == ["two"]
    append(log, "rest")
    assert list(file.rest()) == ["rest"]


def renamed(log: Path) -> None:
    log.rename(log.with_suffix(".1"))
    log.touch()


def truncated(log: Path) -> None:
    log.write_text("")


def removed(log: Path) -> None:
    log.unlink()
    log.touch()


@pytest.mark.parametrize("rotate", [renamed, truncated, removed])
def test_rotation_loses_no_line(rotate: Callable[[Path], None], tmp_path: Path) -> None:
    """Rotation by rename, by truncation (copytruncate) and by removal."""
    log = tmp_path / "access.log"
    log.write_text("a line that is longer than all that follow\n")
    file = GrowingFile(log)
    append(log, "1\n")
    assert list(file.lines()) == ["1"]
    # Some are as long as the one before, some longer, some shorter.
    for number in (2, 3, 444, 5):
        rotate(log)
        append(log, f"{number}\n")
        assert list(file.lines()) == [str(number)]
    assert list(file.rest()) == []


def test_a_writer_that_opens_the_new_file_late(tmp_path: Path) -> None:
    """After a rename its writer goes on writing to the old file for a while: nothing is lost."""
    log = tmp_path / "access.log"
    log.touch()
    file = GrowingFile(log)
    with log.open("a", buffering=1) as writer:
        log.rename(tmp_path / "access.log.1")
        writer.write("1\n")
        assert list(file.lines()) == ["1"]  # no new file is there yet
        append(log, "2\n")
        assert list(file.lines()) == ["2"]
        writer.write("3\n")
        append(log, "4\n")
        assert list(file.lines()) == ["3", "4"]
        assert list(file.rest()) == []


def test_old_files_are_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was rotated long ago is not kept open, so that its room on the disk is free."""
    monkeypatch.setattr(growing_file, "KEEP_SECONDS", 0.0)
    log = tmp_path / "access.log"
    log.touch()
    file = GrowingFile(log)
    for number in range(3):
        renamed(log)
        append(log, f"{number}\n")
        assert list(file.lines()) == [str(number)]
        assert len(file._opened) == 1
    assert list(file.rest()) == []


def test_a_line_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is too long is given in pieces."""
    monkeypatch.setattr(growing_file, "LONGEST_LINE", 10)
    buffer = LineBuffer()
    assert list(buffer.feed(b"x" * 11)) == ["x" * 11]
    assert list(buffer.flush()) == []
