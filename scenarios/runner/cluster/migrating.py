"""Migrations of a release on a cluster: each step is a Job, whose end the release waits for."""

import os
from collections.abc import Mapping

from orchestrator.command_migrations import pg_options
from orchestrator.errors import MigrationFailed
from orchestrator.journal import Journal
from orchestrator.kubernetes.jobs import job_name, migration_job
from orchestrator.kubernetes.manifests import Json
from orchestrator.migrations import APPLICATION_NAME
from orchestrator.placeholders import fill
from scenarios.recording.cluster.watching import ClusterWatch
from scenarios.runner.cluster.deploying import Deployer
from scenarios.runner.release import command_name, next_deployed
from scenarios.scenario.reader import Loaded
from scenarios.scenario.spec import DatabaseSpec

_THROUGH = "{through}"


async def migrate(
    loaded: Loaded, number: int, deployer: Deployer, watch: ClusterWatch, journal: Journal
) -> None:
    """Carry out a step of the release that migrates.

    Args:
        loaded: the scenario.
        number: the index of the step.
        deployer: has the values of placeholders.
        watch: sees the Job.
        journal: what happens.

    Raises:
        MigrationFailed: the Job failed.
        ManifestError: the cluster refused the Job.
        ApiError: it is busy.
        EnvironmentFailure: it does not answer.
    """
    job = job_of(loaded, number, deployer.values, deployer.labels)
    name = job["metadata"]["name"]
    async with journal.verb("migrate", detail={"migration": f"job/{name}"}):
        await deployer.resources.apply(job, deployer.namespace)
        failed = await watch.job_ended(name)
        if failed is not None:
            raise MigrationFailed(f"job/{name} failed: {failed}", migration=f"job/{name}")


def job_of(
    loaded: Loaded, number: int, values: Mapping[str, str], labels: Mapping[str, str]
) -> Json:
    """The Job of a step that migrates.

    Args:
        loaded: the scenario.
        number: the index of the step.
        values: what fills the placeholders.
        labels: the labels of the Job.
    """
    scenario = loaded.scenario
    step, spec = scenario.release.steps[number], scenario.platform.migrations
    if step.migrate is None or spec is None:
        raise ValueError("the checks of a scenario let no such step through")
    database = scenario.database or DatabaseSpec()
    known = {
        **values,
        "version": step.using or next_deployed(scenario, number),
        "through": step.through or "",
        "migrations": "",
    }
    if isinstance(step.migrate, str):
        reference = step.migrate
        known["migrations"] = (
            reference if ":" in reference else os.path.relpath(reference, loaded.path.parent)
        )
        words = [
            word for word in spec.command or () if step.through is not None or _THROUGH not in word
        ]
        what = reference
    else:
        words, what = list(step.migrate), command_name(step.migrate).partition(" ")[0]
        if what.startswith("-"):  # a program in the words of the command, behind `-c`
            what = step.migrate[0]
    env = {
        "PGAPPNAME": APPLICATION_NAME,
        **{key: fill(one, known) for key, one in spec.env.items()},
    }
    if "database_url" in known:
        env = {"DATABASE_URL": known["database_url"], **env}
    options = pg_options(env.get("PGOPTIONS"), database.lock_timeout_seconds)
    if options is not None:
        env["PGOPTIONS"] = options
    return migration_job(
        job_name(number + 1, what),
        image=fill(spec.image, known),
        command=[fill(word, known) for word in words],
        env=env,
        labels=labels,
        deadline_seconds=database.migration_deadline_seconds,
    )
