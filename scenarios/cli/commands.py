"""The commands by name; the module of a command is imported when the command is used.

`hitless --help` and `--version` import none of them, and a command imports only what it needs. That
keeps the start of the program short, in a shell and in every test that starts it.
"""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup

from scenarios.cli.help import epilog


class CommandEntry(NamedTuple):
    """One command of the command line.

    Attributes:
        module: where it is, below `scenarios.cli`; its function is called `…_command`.
        summary: the line about it in `hitless --help`.
    """

    module: str
    summary: str

    def load(self, name: str) -> Any:  # noqa: ANN401 - typer has no public type for it
        """Import the command; returns what typer makes of it."""
        module = import_module(f"scenarios.cli.{self.module}")
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name, epilog=epilog(name))(getattr(module, f"{name}_command"))
        return typer.main.get_command(alone)


COMMANDS = {
    "run": CommandEntry("run", "Deploy one release under traffic, show it live, and judge it."),
    "check": CommandEntry("check", "Find out which versions can live on which schema."),
    "matrix": CommandEntry("matrix", "Run every plan under every strategy, into one table."),
    "demo": CommandEntry("demo", "Deploy one release twice: a plan that breaks it, a safe plan."),
    "ctl": CommandEntry("ctl", "Pause, promote, abort or undo the release of a run."),
    "list": CommandEntry("listing", "List the built-in scenarios and what each of them shows."),
    "report": CommandEntry("report", "Compute the verdict and the reports of a run again."),
    "compare": CommandEntry("compare", "Compare two or more runs side by side."),
    "watch": CommandEntry("watch", "Send traffic while any command deploys, and judge."),
    "probe": CommandEntry("probe", "Find out how a server starts and stops."),
    "init": CommandEntry("init", "Write a scenario file for your own application."),
    "calibrate": CommandEntry("calibrate", "Fit a simulation to a real run."),
    "fuzz": CommandEntry("fuzz", "Search for rollouts that break a promise, in virtual time."),
    "sweep": CommandEntry("sweep", "Vary settings in virtual time, and show the frontier."),
    "schema": CommandEntry("schema", "Print the JSON Schema of a published format."),
    "explain": CommandEntry("explain", "Show what the run recorded about one request."),
    "clean": CommandEntry("clean", "Remove what a killed run has left in a cluster."),
    "help": CommandEntry("topics", "Explain the exit statuses, or a command."),
}


class _LoadedWhenUsed(MutableMapping[str, Any]):
    """The commands by name; looking one up imports it."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - see `CommandEntry.load`
        if name not in self._loaded:
            self._loaded[name] = COMMANDS[name].load(name)
        return self._loaded[name]

    def __setitem__(self, name: str, command: object) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        del self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class CommandGroup(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - typer's
        super().__init__(**settings)
        self.commands = _LoadedWhenUsed()

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's
        """Write the list of commands, without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])
