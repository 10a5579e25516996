"""Where a release's steps and migrations are written, as reviewers of a pull request know it."""

from pathlib import Path

from scenarios.runner.checking.check_run import with_fewer_rows
from scenarios.runner.checking.sources import repository_path, step_lines
from scenarios.scenario.reader import load

EXAMPLES = Path(__file__).parents[4] / "examples"


def test_a_step_has_its_file_and_line_also_where_it_comes_from_another_file() -> None:
    """`broken.toml` extends `scenario.toml`, which has the steps."""
    loaded = with_fewer_rows(load(str(EXAMPLES / "django" / "broken.toml")), None)
    lines = (EXAMPLES / "django" / "scenario.toml").read_text().splitlines()
    for at in step_lines(loaded).values():
        assert at.file.endswith("django/scenario.toml")
        assert lines[at.line - 1].strip().startswith("{")


def test_a_file_has_its_path_in_the_repository_and_else_its_whole_path(tmp_path: Path) -> None:
    """So a checked-out copy of the repository has the same names."""
    (tmp_path / "copy" / ".git").mkdir(parents=True)
    file = tmp_path / "copy" / "migrations" / "x.sql"
    assert repository_path(file) == "migrations/x.sql"
    assert repository_path(tmp_path / "x.sql") == str((tmp_path / "x.sql").resolve())
