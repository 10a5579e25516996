"""The command `hitless`.

The command and the pytest plugin are the modules that other people's environments load, so they
have names that nobody else uses. They import the packages of this distribution late: a project of
yours may have a package that is called `scenarios`, `orchestrator` or `balancer` too, and where
yours comes first on `sys.path`, one line says so.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("scenarios", "orchestrator", "balancer")
"""What is imported under a name that a project of yours may use as well."""

ENVIRONMENT = 4
"""The exit status when something that the run stands on is not as it must be."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit with its status."""
    hidden = shadow()
    if hidden is not None:
        print(f"hitless: {hidden}", file=sys.stderr)  # noqa: T201 - a message
        sys.exit(ENVIRONMENT)
    from scenarios.cli.main import main as command_line  # noqa: PLC0415 - see the module

    command_line(arguments)


def shadow() -> str | None:
    """Name another project's package that is imported instead of ours; None if there is none."""
    for name in PACKAGES:
        found = _found(name)
        if found is None:
            return f"cannot import the package {name!r} of hitless: it is not on sys.path"
        if found.resolve() != (Path(__file__).parent / name).resolve():
            return (
                f"cannot import the package {name!r} of hitless, because {found} comes first on "
                "sys.path; rename that package, or run the command `hitless` without its folder "
                "on PYTHONPATH"
            )
    return None


def _found(name: str) -> Path | None:
    """Where `import name` leads to: a package's folder, or a module's file."""
    module = sys.modules.get(name)
    if module is not None:
        folders, file = list(getattr(module, "__path__", [])), getattr(module, "__file__", None)
    else:
        spec = importlib.util.find_spec(name)
        if spec is None:
            return None
        folders, file = list(spec.submodule_search_locations or []), spec.origin
    return Path(folders[0]) if folders else Path(file) if file else None
