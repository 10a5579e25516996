"""Programs that refuse to run as root, such as Postgres and PgBouncer."""

import os
import shutil

from orchestrator.errors import EnvironmentFailure


def without_root(otherwise: str) -> list[str]:
    """The words before a command that hide root from its program; none for other users.

    The program then runs in a user namespace of its own. The IPC namespace removes its shared
    memory when it is killed.

    Args:
        otherwise: what to do where that is not possible, for the message.

    Raises:
        EnvironmentFailure: it is not possible here.
    """
    if os.geteuid() != 0:
        return []
    unshare = shutil.which("unshare")
    if unshare is None:
        raise EnvironmentFailure(
            f"the program refuses to run as root, and there is no `unshare` here; {otherwise}"
        )
    return [unshare, "--user", "--ipc", "--map-user=1000", "--map-group=1000", "--"]
