"""What `hitless watch` is given is looked at before anything begins."""

import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import EnvironmentFailure
from scenarios.errors import UsageError
from scenarios.runner.watch import WatchTarget


def check_host(target: WatchTarget) -> None:
    """See that the host of the URL has an address.

    Raises:
        EnvironmentFailure: it has none.
    """
    try:
        socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise EnvironmentFailure(f"--url: no address of host {target.host}: {why}") from error


def check_deploy_command(words: Sequence[str]) -> None:
    """See that the command that deploys can be started.

    Raises:
        UsageError: there is no such program.
    """
    if not words:
        return
    program = words[0]
    path = Path(program)
    if "/" in program and path.is_file() and not os.access(path, os.X_OK):
        raise UsageError(f"{program} is not executable (chmod +x)")
    if shutil.which(program) is None:
        where = "" if "/" in program else " on PATH"
        hint = f"; for the file {program} write ./{program}" if where and path.is_file() else ""
        raise UsageError(f"there is no program {program or repr(program)}{where}{hint}")
