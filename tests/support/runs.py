"""Runs through the command line, as the tests of whole releases make them."""

from dataclasses import dataclass
from pathlib import Path

from scenarios.cli.main import status
from scenarios.evidence.event import Event
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.run_folder import RunFolder
from scenarios.evidence.server_log import ServerLine
from scenarios.verdict import Verdict, decode


@dataclass(frozen=True, slots=True)
class Released:
    """A run that has ended.

    Attributes:
        code: the exit status of `hitless run`.
        folder: the run's folder.
    """

    code: int
    folder: Path

    @property
    def verdict(self) -> Verdict:
        """The verdict as it was written."""
        return decode((self.folder / "verdict.json").read_bytes())

    @property
    def requests(self) -> list[Outcome]:
        """All recorded requests."""
        return list(RunFolder(self.folder).requests.read())

    @property
    def server_lines(self) -> list[ServerLine]:
        """What the database server logged about the run's own database."""
        run = RunFolder(self.folder)
        own = run.read_manifest().database
        return [one for one in run.server_lines.read() if one.database == own]

    @property
    def events(self) -> list[Event]:
        """The run's journal."""
        return list(RunFolder(self.folder).events.read())


def released(scenario: str | Path, out: Path, *options: str) -> Released:
    """Run a scenario with `hitless run`.

    Args:
        scenario: the name of a built-in scenario, or a file.
        out: a folder that holds no run yet; the run's folder is made in it.
        options: more options of `hitless run`.
    """
    code = status(["run", str(scenario), "--no-live", "--out", str(out), *options])
    (folder,) = out.iterdir()
    return Released(code, folder)
