"""The control run of a release: the first version is deployed again, and everything else stays."""

import msgspec

from scenarios.errors import UsageError
from scenarios.scenario.spec import Expectation, ReleaseStep, Scenario


def control_of(scenario: Scenario) -> Scenario:
    """The scenario in which each deployment deploys the version that serves already.

    Traffic, strategy, replicas, router and objectives are the same. There are no migrations, and no
    faults that are aimed at another version.

    Raises:
        UsageError: the release deploys nothing, so there is nothing to compare with.
    """
    first = scenario.release.serving
    serving = {one.name: one.serving for one in scenario.services}
    steps = tuple(
        ReleaseStep(
            deploy=first if step.deploy or step.undo else None,
            services={name: serving[name] for name in step.services},
        )
        for step in scenario.release.steps
        if step.deploy or step.undo or step.services
    )
    if not steps:
        raise UsageError(f"--control: the release of {scenario.name} deploys no version")
    replace = msgspec.structs.replace
    return replace(
        scenario,
        name=f"{scenario.name}-control",
        title=f"The control run: version {first} is deployed again",
        release=replace(scenario.release, steps=steps),
        expect=Expectation(),
        versions={name: replace(one, probe=False) for name, one in scenario.versions.items()},
        faults=tuple(one for one in scenario.faults if one.version in (None, first)),
    )
