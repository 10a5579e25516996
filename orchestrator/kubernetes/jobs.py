"""PURE: the Job that carries a migration out on a cluster."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from orchestrator.kubernetes.manifests import Json

_LONGEST = 63
_NAME_OF_PART = re.compile(r"[^a-z0-9]+")


def job_name(number: int, what: str) -> str:
    """The name of the Job of a step: `migrate-2-big-bang`.

    Args:
        number: the number of the step, from 1 on.
        what: a directory of migrations, or a program.
    """
    last = PurePath(what.rpartition(":")[2]).name.lower()
    words = f"migrate-{number}-{_NAME_OF_PART.sub('-', last).strip('-')}"
    return words[:_LONGEST].strip("-")


def migration_job(
    name: str,
    *,
    image: str,
    command: Sequence[str],
    env: Mapping[str, str],
    labels: Mapping[str, str],
    deadline_seconds: float,
) -> Json:
    """A Job that runs a command once: if it fails, it is not repeated.

    Args:
        name: its name.
        image: the image of its only container.
        command: the program and its arguments.
        env: environment variables.
        labels: the labels of the Job and of its pod.
        deadline_seconds: after so long the cluster ends it.
    """
    container: Json = {
        "name": "migrate",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "env": [{"name": key, "value": value} for key, value in env.items()],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": max(1, round(deadline_seconds)),
            "template": {
                "metadata": {"labels": dict(labels)},
                "spec": {"restartPolicy": "Never", "containers": [container]},
            },
        },
    }
