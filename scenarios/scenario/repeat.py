"""Continuous deployment: the same release several times in a row, under one traffic."""

import msgspec

from scenarios.scenario.spec import ReleaseStep, Scenario, VersionSpec


def repeated(scenario: Scenario, times: int) -> Scenario:
    """The scenario with so many releases in a row, always forward.

    Versions that need no migration alternate: a, b, a, b. Where the schema moves, there is no way
    back: the last version is then deployed anew, as `b.2`, `b.3`, and so on.
    """
    steps = list(scenario.release.steps)
    versions = dict(scenario.versions)
    last = [step.deploy for step in steps if step.deploy][-1]
    migrates = any(step.migrate is not None for step in steps)
    pair = (last, scenario.release.serving)
    for number in range(2, times + 1):
        name = pair[(number + 1) % 2]
        if migrates:
            name = f"{last}.{number}"
            versions[name] = _named(scenario, last)
        steps.append(ReleaseStep(deploy=name))
    replace = msgspec.structs.replace
    release = replace(scenario.release, steps=tuple(steps))
    return replace(scenario, release=release, versions=versions)


def _named(scenario: Scenario, name: str) -> VersionSpec:
    """The version, with its own name wherever `{version}` stood."""
    application, spec = scenario.application, scenario.versions[name]
    env = {**application.env, **spec.env}
    return msgspec.structs.replace(
        spec,
        command=tuple(
            word.replace("{version}", name) for word in spec.command or application.command or ()
        ),
        env={key: value.replace("{version}", name) for key, value in env.items()},
    )
