"""What a scenario must say, and must not say, to be simulated."""

from collections.abc import Callable, Iterator
from typing import Literal, get_args

from scenarios.errors import ScenarioError, near
from scenarios.scenario.paths import migrations_directory, migrations_in
from scenarios.scenario.simulation import SimulationSpec
from scenarios.scenario.spec import Scenario
from scenarios.traffic.settings import Journey, Step

At = Callable[[list[str]], str]
"""Says where a key is set: `file:line: key 'name': `."""

PlatformName = Literal["local", "simulated"]
PLATFORMS: tuple[str, ...] = get_args(PlatformName)
"""Where a run can take place."""

SIMULATED_FAULTS = ("kill", "freeze", "block")


def endpoint_of(step: Step, link: str) -> str:
    """The endpoint of a step: its method, and its path without the query."""
    return f"{step.method} {step.path.replace('{link}', link).partition('?')[0]}"


def check_simulation(scenario: Scenario, at: At, platform: PlatformName) -> None:
    """Refuse names in `[simulation]` that do not exist, and what a simulated run cannot do.

    Raises:
        ScenarioError: something does not fit.
    """
    spec = scenario.simulation
    for name, keys in _versions(spec):
        if name not in scenario.versions:
            raise ScenarioError(
                at(keys) + f"unknown version {name!r}; {near(name, scenario.versions)}"
            )
    endpoints = {
        endpoint_of(step, spec.link)
        for journey in scenario.traffic.journeys
        for step in journey.steps
    }
    for name, keys in _endpoints(spec):
        if name not in endpoints:
            raise ScenarioError(
                at(keys) + f"no journey of [traffic] asks for {name!r}; {near(name, endpoints)}"
            )
    if platform == "simulated":
        _check_names_of_migrations(scenario, at)
        _check_whether_it_ends(scenario, at)
        _check_what_is_modelled(scenario, at)


def _versions(spec: SimulationSpec) -> Iterator[tuple[str, list[str]]]:
    for table in ("versions", "mails"):
        for name in getattr(spec, table):
            yield name, ["simulation", table, name]
    for number, one in enumerate(spec.breaks):
        yield one.version, ["simulation", "breaks", str(number), "version"]


def _endpoints(spec: SimulationSpec) -> Iterator[tuple[str, list[str]]]:
    for name in spec.endpoints:
        yield name, ["simulation", "endpoints", name]
    for version, names in spec.mails.items():
        for name in names:
            yield name, ["simulation", "mails", version]
    for number, one in enumerate(spec.breaks):
        if one.endpoint is not None:
            yield one.endpoint, ["simulation", "breaks", str(number), "endpoint"]


def _check_names_of_migrations(scenario: Scenario, at: At) -> None:
    """See that the migrations of `[simulation]` exist, where all of them are known by name.

    A scenario that extends another one inherits what is said of the migrations of other plans. So
    only names of directories that this release uses are looked at.
    """
    known: set[str] = set()
    for step in scenario.release.steps:
        for migration in (step.migrate, step.migrate_down):
            if isinstance(migration, str):
                known.update(migrations_in(migrations_directory(migration)))
    stems = {name.partition(".")[0] for name in known}
    for number, one in enumerate(scenario.simulation.migrations):
        if one.name.partition(".")[0] in stems and one.name not in known:
            where = at(["simulation", "migrations", str(number), "name"])
            raise ScenarioError(f"{where}no migration {one.name!r}; {near(one.name, known)}")


def _check_whether_it_ends(scenario: Scenario, at: At) -> None:
    policy = scenario.policy
    for step in policy.canary_plan:
        if step.pause == "promoted":
            raise ScenarioError(
                at(["policy", "canary_steps"])
                + 'pause = "promoted" waits for a person, and nobody '
                "can promote in a simulated run, so it would never end; give a number of seconds"
            )
    if not policy.auto_promotion and not policy.auto_promotion_seconds:
        raise ScenarioError(
            at(["policy", "auto_promotion"])
            + "false waits for a person, and nobody can promote in "
            "a simulated run, so it would never end; set auto_promotion_seconds"
        )


def _check_what_is_modelled(scenario: Scenario, at: At) -> None:
    if scenario.router.kind != "hitless":
        raise ScenarioError(
            at(["router", "kind"]) + f"{scenario.router.kind} is not simulated; only hitless is"
        )
    if scenario.services:
        raise ScenarioError(at(["services"]) + "services are not simulated; leave them out")
    for number, fault in enumerate(scenario.faults):
        if fault.do not in SIMULATED_FAULTS:
            raise ScenarioError(
                at(["faults", str(number), "do"])
                + f"{fault.do!r} is not simulated; {', '.join(SIMULATED_FAULTS)} are"
            )
    for number, journey in enumerate(scenario.traffic.journeys):
        _check_journey(journey, scenario, at(["traffic", "journeys", str(number)]))


def _check_journey(journey: Journey, scenario: Scenario, where: str) -> None:
    if journey.python is not None:
        raise ScenarioError(
            f"{where}journey {journey.name} is a coroutine, which is not simulated; write its "
            "requests as 'steps'"
        )
    waits = any(step.after == "mail" for step in journey.steps)
    if waits and not scenario.simulation.mails:
        raise ScenarioError(
            f"{where}journey {journey.name} waits for mail; say in [simulation] mails which "
            "version sends one after which request"
        )
