"""`hitless clean`: removes what a run that was killed has left in a cluster."""

from typing import Annotated

import typer
from rich.text import Text

from orchestrator.errors import EnvironmentFailure
from orchestrator.kubernetes.client import connected
from orchestrator.kubernetes.errors import ApiError, ClusterNameError
from orchestrator.kubernetes.locality import ensure_meant
from orchestrator.kubernetes.ownership import (
    OwnedNamespace,
    owned_namespaces,
    remove_namespace,
)
from scenarios.cli.console import output
from scenarios.cli.interrupts import run_interruptibly
from scenarios.errors import UsageError
from scenarios.exit_status import ExitStatus


def clean_command(
    context: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONTEXT]",
            help="The context of the kubeconfig. Default: the current one, if its cluster runs on "
            "this machine.",
        ),
    ] = None,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Remove the namespaces of killed runs.")
    ] = False,
    everywhere: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Also remove namespaces of runs on other machines. Nobody can tell from here "
            "whether such a run still goes on.",
        ),
    ] = False,
) -> int:
    """Remove what a run that was killed (`kill -9`) has left in a cluster.

    hitless removes only namespaces that it made itself. It knows them by their labels
    `app.kubernetes.io/managed-by=hitless` and `hitless/run`. It leaves a run alone that still goes
    on. Runs that end in any other way, also by Ctrl-C, leave nothing.
    """
    if not cluster:
        raise UsageError(
            "hitless clean needs --cluster: on this machine no run leaves anything behind"
        )
    run_interruptibly(_clean(context, everywhere=everywhere))
    return ExitStatus.PASS


async def _clean(context: str | None, *, everywhere: bool) -> None:
    try:
        async with connected(context) as api:
            ensure_meant(api, context, by="hitless clean --cluster CONTEXT")
            found = await owned_namespaces(api)
            if not found:
                _say(f"nothing is left in the cluster of the context {api.context!r}")
            for one in found:
                if one.state == "alive" or (one.state == "elsewhere" and not everywhere):
                    _say(_left_alone(one))
                    continue
                await remove_namespace(api, one.name, one.uid)
                _say(f"removed {one.name} of the run {one.run_id}")
    except ApiError as error:
        raise EnvironmentFailure(str(error)) from error
    except ClusterNameError as error:
        raise UsageError(str(error)) from error


def _left_alone(one: OwnedNamespace) -> str:
    run, owner = f"left alone: {one.name} of the run {one.run_id}", one.owner
    if one.state == "alive" and owner is not None:
        return f"{run}, which still goes on (process {owner.pid})"
    where = "another machine" if owner is None else f"the machine {owner.host}"
    return f"{run} on {where}, which may still go on; --all removes it"


def _say(line: str) -> None:
    output().print(Text(line), soft_wrap=True)
