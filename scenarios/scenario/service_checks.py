"""What the types cannot say of services, and of the steps that deploy them."""

from collections.abc import Callable, Iterable

import msgspec

from orchestrator.policy import Policy, PolicyError
from scenarios.errors import ScenarioError, near
from scenarios.scenario.placeholders import PLACEHOLDERS
from scenarios.scenario.process_checks import RESERVED
from scenarios.scenario.service_spec import ServiceSpec
from scenarios.scenario.spec import FaultSpec, ReleaseStep, Scenario

At = Callable[[list[str]], str]

OF_SERVICES = frozenset({"kill", "freeze"})
"""The faults that can affect a replica of a service."""


def check_services(
    scenario: Scenario, at: At, check_placeholders: Callable[[tuple[str, ...], str], None]
) -> None:
    """Refuse what would only be found out in the middle of a run.

    Args:
        scenario: what was read.
        at: says where it was read.
        check_placeholders: refuses texts with an unknown placeholder; its second argument says
            where they were read.

    Raises:
        ScenarioError: something does not fit.
    """
    seen = {one.name for one in scenario.application.processes}
    for number, spec in enumerate(scenario.services):
        keys = ["services", str(number)]
        _check_name(spec, scenario, seen, at([*keys, "name"]))
        seen.add(spec.name)
        _check_versions(spec, keys, at)
        for where, texts in _texts(spec, keys):
            check_placeholders(texts, at(where))
        try:
            service_policy(spec, scenario.policy)
        except PolicyError as error:
            raise ScenarioError(f"{at([*keys, 'replicas'])}{error}") from error
    for number, step in enumerate(scenario.release.steps, start=1):
        _check_step(step, scenario, f"{at(['release', 'steps', str(number - 1)])}step {number}")
    for number, fault in enumerate(scenario.faults):
        _check_fault(fault, scenario, at(["faults", str(number)]))


def service_policy(spec: ServiceSpec, policy: Policy) -> Policy:
    """How a service is deployed: as `[policy]` says, with its own number of replicas.

    Its replicas are not scaled, and nobody requests the application's preview paths from them.

    Raises:
        PolicyError: the numbers do not fit.
    """
    return msgspec.structs.replace(policy, replicas=spec.replicas, autoscaling=None, preview=None)


def _check_name(spec: ServiceSpec, scenario: Scenario, seen: set[str], where: str) -> None:
    name = spec.name
    if name in scenario.versions:
        raise ScenarioError(
            f"{where}there is a version {name!r}, too; give the service another name"
        )
    if name in RESERVED:
        raise ScenarioError(f"{where}the run has a log of that name; give the service another name")
    if name in seen:
        raise ScenarioError(
            f"{where}there is another service or set of processes {name!r}; give the service "
            "another name"
        )
    for version in spec.versions:
        if f"{name}-{version}" in scenario.versions:
            raise ScenarioError(
                f"{where}the replicas of {name!r} in version {version!r} would have the ids of the "
                f"version '{name}-{version}'; give the service another name"
            )
    if {f"{name}_host", f"{name}_port"} & set(PLACEHOLDERS):
        raise ScenarioError(
            f"{where}{{{name}_port}} has another meaning already; give the service another name"
        )


def _check_versions(spec: ServiceSpec, keys: list[str], at: At) -> None:
    if spec.serving not in spec.versions:
        raise ScenarioError(
            f"{at([*keys, 'from'])}service {spec.name!r} has no version {spec.serving!r}; "
            f"{near(spec.serving, spec.versions)}"
        )
    for name, version in spec.versions.items():
        if spec.command is None and version.command is None:
            raise ScenarioError(
                f"{at([*keys, 'versions', name])}neither this version nor service {spec.name!r} "
                "has a 'command'"
            )


def _texts(spec: ServiceSpec, keys: list[str]) -> Iterable[tuple[list[str], tuple[str, ...]]]:
    yield [*keys, "command"], spec.command or ()
    for variable, value in spec.env.items():
        yield [*keys, "env", variable], (value,)
    for name, version in spec.versions.items():
        yield [*keys, "versions", name, "command"], version.command or ()
        for variable, value in version.env.items():
            yield [*keys, "versions", name, "env", variable], (value,)


def _check_step(step: ReleaseStep, scenario: Scenario, where: str) -> None:
    known = {one.name: one for one in scenario.services}
    for name, version in step.services.items():
        if name not in known:
            there = near(name, known) if known else "the scenario has no [[services]]"
            raise ScenarioError(f"{where}: unknown service {name!r}; {there}")
        if version not in known[name].versions:
            raise ScenarioError(
                f"{where}: service {name!r} has no version {version!r}; "
                f"{near(version, known[name].versions)}"
            )


def _check_fault(fault: FaultSpec, scenario: Scenario, where: str) -> None:
    if fault.service is None:
        return
    if fault.do not in OF_SERVICES:
        raise ScenarioError(f"{where}'service' has no meaning for {fault.do!r}; leave it out")
    known = {one.name: one for one in scenario.services}
    if fault.service not in known:
        there = near(fault.service, known) if known else "the scenario has no [[services]]"
        raise ScenarioError(f"{where}unknown service {fault.service!r}; {there}")
    versions = known[fault.service].versions
    if fault.version is not None and fault.version not in versions:
        raise ScenarioError(
            f"{where}service {fault.service!r} has no version {fault.version!r}; "
            f"{near(fault.version, versions)}"
        )
