"""What the result of a trial depends on."""

import os
from pathlib import Path

import pytest

from scenarios.runner.checking.fingerprint import version_digest
from scenarios.scenario.reader import Loaded, load

SCENARIO = """
name = "small"
application = { command = ["serve", "{port}"] }
versions = { old = {}, new = {} }
release = { from = "old", steps = [{ deploy = "new" }] }
traffic = { rate = 10, journeys = [{ name = "look", steps = [{ path = "/" }] }] }
"""


@pytest.fixture
def small(tmp_path: Path) -> Loaded:
    """A scenario whose versions run in its own folder."""
    file = tmp_path / "small.toml"
    file.write_text(SCENARIO)
    return load(str(file))


def test_a_changed_file_changes_the_digest(small: Loaded, tmp_path: Path) -> None:
    """A check runs a version again if one of its files has changed, and only then."""
    source = tmp_path / "server.py"
    source.write_text("answer = 1\n")
    before = version_digest(small, "old")
    assert version_digest(small, "old") == before
    source.write_text("answer = 2\n")
    assert version_digest(small, "old") != before


def test_a_named_pipe_is_not_read(small: Loaded, tmp_path: Path) -> None:
    """Only regular files count: reading a pipe of the application would wait for a writer."""
    before = version_digest(small, "old")
    os.mkfifo(tmp_path / "commands")
    assert version_digest(small, "old") == before
