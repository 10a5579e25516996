"""Runs an experiment on a Kubernetes cluster: with its own controllers, or with pods of ours."""

from pathlib import Path

from scenarios.evidence.progress import Progress
from scenarios.runner.cluster.cluster_run import ClusterRun
from scenarios.runner.cluster.pods_run import PodsRun
from scenarios.runner.environment import Environment
from scenarios.runner.operator_commands import OperatorCommands
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.platform_spec import DEPLOYMENT


async def run_on_cluster(
    experiment: Experiment,
    environment: Environment,
    folder: Path,
    watcher: Progress,
    operator: OperatorCommands | None = None,
    *,
    only_begin: bool = False,
) -> None:
    """Run an experiment on a cluster; its evidence, the manifest included, is then in the folder.

    Args:
        experiment: what.
        environment: where its database is.
        folder: for its evidence.
        watcher: told what happens.
        operator: gives the commands of people to a strategy of ours; absent: nobody can give any.
        only_begin: end before the traffic: the first version was deployed and each journey tried.

    Raises:
        ScenarioError: a manifest cannot be used, or the version before the release answers
            something else than the scenario expects.
        UsageError: what was named cannot be used.
        EnvironmentFailure: it could not begin, or something that it stands on broke.
    """
    run = (
        ClusterRun(experiment, environment, folder, watcher)
        if experiment.strategy == DEPLOYMENT
        else PodsRun(experiment, environment, folder, watcher, operator or OperatorCommands())
    )
    await run.go(only_begin=only_begin)
