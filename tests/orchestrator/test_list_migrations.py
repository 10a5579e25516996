"""The migrations of a directory, without a database."""

from pathlib import Path

import pytest

from orchestrator.errors import MigrationFailed
from orchestrator.migrations import list_migrations
from orchestrator.processes import Processes


async def test_migrations_are_listed_in_order_and_with_what_they_can(tmp_path: Path) -> None:
    """The order is yoyo's, and each says whether it is transactional and can be taken back."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "z.sql").write_text("CREATE TABLE one (id int);")
    (folder / "z.rollback.sql").write_text("DROP TABLE one;")
    (folder / "a.sql").write_text("-- transactional: false\n-- depends: z\nSELECT 1; SELECT 2;")
    async with Processes() as processes:
        found = await list_migrations(processes, folder, None, log=tmp_path / "log")
        first = await list_migrations(processes, folder, "z", log=tmp_path / "log")
    assert [(one.migration, one.transactional, one.statements) for one in found] == [
        ("z", True, 1),
        ("a", False, 2),
    ]
    assert [one.reversible for one in found] == [True, False]
    assert first == found[:1]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"x.sql": "-- depends: y", "y.sql": "-- depends: x"}, "in a circle: x, y"),
        ({"x.py": "import ("}, r"x\.py.*invalid syntax"),
        ({"x.py": "1 / 0"}, r"x\.py.*division by zero"),
        ({"x.sql": "-- depends: missing"}, r"[Cc]ould not resolve dependencies in .*x\.sql"),
        ({}, "no migrations in"),
    ],
)
async def test_what_cannot_be_read_is_one_line(
    files: dict[str, str], words: str, tmp_path: Path
) -> None:
    """A circle, a file that does not parse, and a missing dependency are named with their file."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    async with Processes() as processes:
        with pytest.raises(MigrationFailed, match=words) as failure:
            await list_migrations(processes, folder, None, log=tmp_path / "log")
    assert "\n" not in str(failure.value)
