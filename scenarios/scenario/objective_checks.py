"""Limits that no run could meet, or that mean nothing."""

from scenarios.errors import ScenarioError
from scenarios.evidence.manifest import Objectives
from scenarios.scenario.simulation_checks import At


def check_objectives(objectives: Objectives, at: At) -> None:
    """Refuse limits below zero, and a share that is none.

    Raises:
        ScenarioError: a limit is wrong; the message names its key.
    """
    for key in Objectives.__struct_fields__:
        value, where = getattr(objectives, key), at(["objectives", key])
        if value is None or isinstance(value, bool):
            continue
        if key == "availability":
            if not 0 < value <= 1:
                raise ScenarioError(
                    f"{where}expected a share above 0 and at most 1, such as 0.999, got {value:g}"
                )
        elif value < 0 or (value == 0 and key == "latency_seconds"):
            least = "above 0" if key == "latency_seconds" else "0 or more"
            raise ScenarioError(f"{where}expected a number, {least}, got {value:g}")
