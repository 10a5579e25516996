"""What a release deploys beside the web: sets of processes, and services."""

from typing import Protocol

from orchestrator.rollout import Rollout


class Beside(Protocol):
    """What is deployed beside the web: see `orchestrator.process_sets.ProcessSet`.

    Attributes:
        name: its name.
        place: when it is deployed: `before` the web, `with` it at the same time, or `after` it.
            None: it is a service, which only steps deploy that name it.
        start: the version of a service before the release.
        rollout: its processes.
    """

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def place(self) -> str | None:
        """When it is deployed."""
        ...

    @property
    def start(self) -> str | None:
        """The version of a service before the release."""
        ...

    @property
    def rollout(self) -> Rollout:
        """Its processes."""
        ...

    async def deploy(self, version: str) -> None:
        """Replace the processes by those of another version."""
        ...

    async def restore(self, version: str) -> None:
        """Let only this version's processes run."""
        ...
