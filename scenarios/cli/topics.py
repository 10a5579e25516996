"""`hitless help`: the topics that concern every command, and the help of a command."""

import sys
from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from scenarios.cli.commands import COMMANDS
from scenarios.errors import UsageError, near
from scenarios.exit_status import ExitStatus


def help_command(
    context: typer.Context,
    topic: Annotated[
        str | None, typer.Argument(help="A topic (exit-status) or the name of a command.")
    ] = None,
) -> int:
    """Explain the exit statuses, or a command."""
    if topic is None:
        text = context.find_root().get_help()
    elif topic in TOPICS:
        text = TOPICS[topic]()
    elif topic in COMMANDS:
        parent, command = context.find_root(), COMMANDS[topic].load(topic)
        with typer.Context(command, info_name=topic, parent=parent) as of_command:
            text = command.get_help(of_command)
    else:
        raise UsageError(f"no help about {topic!r}; {near(topic, [*TOPICS, *COMMANDS])}")
    sys.stdout.write(f"{text}\n")
    return ExitStatus.PASS


def exit_statuses() -> str:
    """Every exit status with its meaning, one a line."""
    lines = (f"{status.value:>5}  {status.meaning}" for status in ExitStatus)
    return "\n".join(("The exit statuses of all commands:", "", *lines))


TOPICS: Mapping[str, Callable[[], str]] = {"exit-status": exit_statuses}
"""What is explained for all commands alike."""
