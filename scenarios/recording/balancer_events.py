"""Records what the balancer reports of its backends while a run goes on."""

import msgspec

from balancer.client import AdminClient, AdminError
from orchestrator.errors import EnvironmentFailure
from scenarios.evidence.backend import BackendChange
from scenarios.evidence.run_folder import RunFolder


async def record_backends(admin: str, folder: RunFolder) -> None:
    """Write each change of a backend's state to the run's folder, until cancelled.

    Args:
        admin: the balancer's admin address.
        folder: where the changes go.

    Raises:
        EnvironmentFailure: the balancer is gone.
    """
    with folder.backend_changes.recorder() as recorder:
        async with AdminClient(admin) as client:
            try:
                async for event in client.events():
                    if event.get("event") == "backend":
                        recorder.write(msgspec.convert(event, BackendChange))
            except AdminError as error:
                raise EnvironmentFailure(f"the balancer: {error}") from error
