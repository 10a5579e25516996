"""What `hitless watch` is given is looked at before anything begins."""

import socket

from orchestrator.errors import EnvironmentFailure
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
