"""The program starts quickly: it imports a command when that command is used."""

import subprocess
import sys

import pytest

from scenarios.cli.commands import COMMANDS

HEAVY = (
    "asyncio", "aiohttp", "asyncpg", "psycopg", "prometheus_client", "scenarios.runner",
    "scenarios.verdict", "orchestrator.rollout", "balancer",
)  # fmt: skip


def imported(*arguments: str) -> set[str]:
    """What one call of the program has imported when it ends."""
    code = (
        "import sys\nfrom hitless_cli import main\n"
        f"try: main({list(arguments)!r})\n"
        "except SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout
    return set(run.stderr.splitlines())


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(flag: str) -> None:
    """Neither the parts of a run nor the libraries that they use are imported for some help."""
    assert imported(flag).isdisjoint(HEAVY)


def test_a_command_imports_only_itself() -> None:
    """`hitless init --help` imports no other command, and nothing that a run needs."""
    seen = imported("init", "--help")
    assert "scenarios.cli.init" in seen
    others = {f"scenarios.cli.{entry.module}" for name, entry in COMMANDS.items() if name != "init"}
    assert seen.isdisjoint(others | {"aiohttp", "asyncpg", "scenarios.runner"})


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_there(name: str) -> None:
    """Every command that the list names can be loaded, has a name, help and examples."""
    command = COMMANDS[name].load(name)
    assert command.name == name
    assert command.help
    assert "Examples:" in command.epilog
