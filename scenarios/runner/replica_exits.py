"""Hears of replicas and processes that end by themselves."""

from orchestrator.interfaces import ReplicaExit
from orchestrator.journal import Journal
from orchestrator.model import Replica
from orchestrator.platforms.local import OnExit


class ReplicaExits:
    """Journals each replica that ends by itself, and tells one listener."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._listener: OnExit | None = None

    def tell(self, listener: OnExit) -> None:
        """Tell this listener, too, from now on."""
        self._listener = listener

    def hear(self, replica: Replica, ended: ReplicaExit) -> None:
        """Take the news from the platform."""
        self._journal.note(
            "replica",
            version=replica.version,
            replicas=[replica.id],
            error=ended.reason,
            detail={"log": list(ended.log)},
        )
        if self._listener is not None:
            self._listener(replica, ended)
