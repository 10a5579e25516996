"""What a command prints into a pipe while it measures or waits."""

import io

from rich.console import Console

from scenarios.cli.waiting import waiting


def test_a_text_that_changes_often_is_printed_again_only_after_a_silence() -> None:
    """In a pipe a text is one line; its changing part gets a line after five silent seconds."""
    out, now = io.StringIO(), [0.0]
    with waiting(Console(file=out, width=80), lambda: now[0]) as say:
        for now[0], text in (
            (0.0, "starting"),
            (1.0, "measuring: 20/s"),
            (2.0, "measuring: 40/s"),
            (6.5, "measuring: 80/s"),
            (7.0, "measuring: 160/s"),
        ):
            say(text)
    assert out.getvalue().splitlines() == ["starting", "measuring", "measuring: 80/s"]
