"""The placeholders of commands and environments, and the values that a run has for them."""

from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

from orchestrator.database_url import host_and_port
from scenarios.scenario.process_spec import ProcessSpec
from scenarios.scenario.service_spec import ServiceSpec

PLACEHOLDERS: Mapping[str, str] = {
    "host": "the address where a replica listens",
    "port": "the port where it listens",
    "version": "the name of its version",
    "replica_id": "its id",
    "replica_dir": "a private directory",
    "shared_dir": "a directory that all processes of the run share",
    "python": "the version's Python interpreter",
    "database_url": "the URL of the application's database",
    "database_host": "the host in that URL",
    "database_port": "the port in it",
    "database_user": "the user in it",
    "database_password": "the password in it",
    "database_name": "the database in it",
    "smtp_url": "the URL of the users' mailbox",
    "base_url": "the URL of the balancer, for links",
}
"""Each placeholder, and what it stands for."""

OF_A_REPLICA = frozenset({"host", "port", "version", "replica_id", "replica_dir", "python"})
"""Those whose values differ from replica to replica, or from version to version."""


def shared_names(
    processes: Iterable[ProcessSpec], services: Iterable[ServiceSpec]
) -> tuple[str, ...]:
    """The placeholders that lead to shared processes and to services, such as `redis_port`."""
    names = [*(one.name for one in processes if one.shared), *(one.name for one in services)]
    return tuple(f"{name}_{part}" for name in names for part in ("host", "port"))


def without_processes(
    processes: Iterable[ProcessSpec], services: Iterable[ServiceSpec]
) -> dict[str, str]:
    """The values where no shared process and no service runs: placeholders stand for nothing."""
    return {**dict.fromkeys(shared_names(processes, services), ""), "shared_dir": ""}


def database_values(url: str) -> dict[str, str]:
    """The values for a database: its URL, and the parts of it that drivers ask for."""
    parts = urlsplit(url)
    host, port = host_and_port(url)
    return {
        "database_url": url,
        "database_host": host,
        "database_port": port,
        "database_user": unquote(parts.username or ""),
        "database_password": unquote(parts.password or ""),
        "database_name": unquote(parts.path.lstrip("/")),
    }


def run_values(*, database_url: str, smtp: str = "", address: str = "") -> dict[str, str]:
    """The values that are the same for all commands of a run.

    Args:
        database_url: the application's database; empty when it has none.
        smtp: `host:port` of the users' mailbox; empty before there is one.
        address: `host:port` of the balancer; empty before there is one.
    """
    return {
        **database_values(database_url),
        "smtp_url": f"smtp://{smtp}" if smtp else "",
        "base_url": f"http://{address}" if address else "",
    }
