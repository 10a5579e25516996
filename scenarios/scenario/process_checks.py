"""What the types cannot say of processes beside the web, of their jobs, and of their faults."""

import re
from collections.abc import Callable

from orchestrator.policy import Policy, PolicyError
from scenarios.errors import ScenarioError, near
from scenarios.scenario.placeholders import PLACEHOLDERS
from scenarios.scenario.process_spec import JobsSpec, ProcessSpec
from scenarios.scenario.spec import FaultSpec, Scenario

At = Callable[[list[str]], str]

OF_PROCESSES = frozenset(
    {"term", "term-group", "term-twice", "kill-all", "restart", "restart-in-minute"}
)
"""The faults that affect a set of `application.processes`."""

CACHES = ("redis://", "rediss://", "unix://")
"""How the address of a store begins whose keys can be looked at."""

RESERVED = frozenset(
    {"balancer", "command", "hooks", "initdb", "jobs-store", "load", "migrator", "postgres"}
)
"""Names of logs in the folder of a run."""


def check_processes(
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
    processes = scenario.application.processes
    seen: set[str] = set()
    for number, spec in enumerate(processes):
        keys = ["application", "processes", str(number)]
        _check_name(spec, scenario, seen, at([*keys, "name"]))
        seen.add(spec.name)
        _check_process(spec, scenario, keys, at)
        check_placeholders(spec.command, at([*keys, "command"]))
        for variable, value in spec.env.items():
            check_placeholders((value,), at([*keys, "env", variable]))
    for name, version in scenario.versions.items():
        for process, command in version.commands.items():
            where = at(["versions", name, "commands", process])
            known = [one.name for one in processes if not one.shared]
            if process not in known:
                raise ScenarioError(
                    f"{where}there is no such set of processes; {near(process, known)}"
                )
            check_placeholders(command, where)
    if scenario.jobs is not None:
        _check_jobs(scenario.jobs, scenario, at, check_placeholders)
    if scenario.cache is not None:
        _check_cache(scenario.cache.url, at(["cache", "url"]), check_placeholders)
    for number, fault in enumerate(scenario.faults):
        _check_fault(fault, scenario, at(["faults", str(number)]))


def _check_name(spec: ProcessSpec, scenario: Scenario, seen: set[str], where: str) -> None:
    if spec.name in scenario.versions:
        raise ScenarioError(
            f"{where}there is a version {spec.name!r}, too; give the set of processes another name"
        )
    if spec.name in RESERVED:
        raise ScenarioError(f"{where}the run has a log of that name; give the set another name")
    if spec.name in seen:
        raise ScenarioError(f"{where}there is another set of processes {spec.name!r}")
    for version in scenario.versions:
        if f"{spec.name}-{version}" in scenario.versions:
            raise ScenarioError(
                f"{where}the processes of {spec.name!r} in version {version!r} would have the ids "
                f"of the version '{spec.name}-{version}'; give the set another name"
            )
    if spec.shared and {f"{spec.name}_host", f"{spec.name}_port"} & set(PLACEHOLDERS):
        raise ScenarioError(
            f"{where}{{{spec.name}_port}} has another meaning already; give the set another name"
        )


def _check_process(spec: ProcessSpec, scenario: Scenario, keys: list[str], at: At) -> None:
    if spec.ready_log is not None:
        try:
            re.compile(spec.ready_log)
        except re.error as error:
            raise ScenarioError(
                f"{at([*keys, 'ready_log'])}{spec.ready_log!r} is no regular expression: {error}"
            ) from error
    if spec.shared:
        for key in ("strategy", "max_surge", "max_unavailable", "drain_signal"):
            if getattr(spec, key) is not None:
                raise ScenarioError(
                    f"{at([*keys, key])}a shared process is not deployed; leave it out"
                )
        if spec.replicas != 1:
            raise ScenarioError(f"{at([*keys, 'replicas'])}a shared process is a single one")
        return
    if spec.drain_signal is not None and scenario.jobs is None:
        raise ScenarioError(
            f"{at([*keys, 'drain_signal'])}needs a [jobs] table: without it hitless cannot know "
            "when a process has no job in hand"
        )
    try:
        set_policy(spec, scenario.policy)
    except PolicyError as error:
        raise ScenarioError(f"{at([*keys, *error.keys])}{error}") from error


def set_policy(spec: ProcessSpec, policy: Policy) -> Policy:
    """How a set of processes is deployed: as the web is, as far as it fits without a router.

    A canary of a set has its share of the processes, and nobody judges its requests.

    Raises:
        PolicyError: the numbers do not fit.
    """

    def own(key: str) -> object:
        given = getattr(spec, key)
        return getattr(policy, key) if given is None else given

    return Policy(
        replicas=spec.replicas,
        max_surge=own("max_surge"),  # type: ignore[arg-type]
        max_unavailable=own("max_unavailable"),  # type: ignore[arg-type]
        min_ready_seconds=own("min_ready_seconds"),  # type: ignore[arg-type]
        progress_deadline_seconds=policy.progress_deadline_seconds,
        drain_timeout_seconds=spec.drain_timeout_seconds,
        canary_steps=tuple(step for step in policy.canary_plan if not step.analysis),
        healing=policy.healing,
        scale_down_delay_seconds=policy.scale_down_delay_seconds,
    )


def _check_jobs(
    jobs: JobsSpec,
    scenario: Scenario,
    at: At,
    check_placeholders: Callable[[tuple[str, ...], str], None],
) -> None:
    if jobs.using is not None and jobs.using not in scenario.versions:
        raise ScenarioError(
            f"{at(['jobs', 'using'])}unknown version {jobs.using!r}; "
            f"{near(jobs.using, scenario.versions)}"
        )
    if jobs.using is not None and jobs.store is None:
        raise ScenarioError(f"{at(['jobs', 'using'])}belongs to a 'store'")
    check_placeholders(jobs.store or (), at(["jobs", "store"]))


def _check_cache(
    url: str, where: str, check_placeholders: Callable[[tuple[str, ...], str], None]
) -> None:
    if not url.startswith(CACHES):
        raise ScenarioError(
            f"{where}expected the address of a Redis or Valkey, such as "
            "'redis://{redis_host}:{redis_port}/0'"
        )
    check_placeholders((url,), where)


def _check_fault(fault: FaultSpec, scenario: Scenario, where: str) -> None:
    if fault.do not in OF_PROCESSES:
        for key in ("process", "when"):
            if getattr(fault, key) is not None:
                raise ScenarioError(f"{where}{key!r} has no meaning for {fault.do!r}; leave it out")
        return
    sets = {one.name: one for one in scenario.application.processes}
    if fault.process is None:
        raise ScenarioError(f"{where}{fault.do!r} needs a 'process' of application.processes")
    if fault.process not in sets:
        raise ScenarioError(
            f"{where}there is no set of processes {fault.process!r}; {near(fault.process, sets)}"
        )
    shared = sets[fault.process].shared
    if (fault.do == "restart") != shared:
        raise ScenarioError(
            f"{where}{fault.do!r} is for processes that are {'not ' if shared else ''}shared, and "
            f"{fault.process!r} is {'' if shared else 'not '}shared"
        )
    if fault.when is not None and scenario.jobs is None:
        raise ScenarioError(f"{where}'when' needs a [jobs] table")
    if fault.when is not None and fault.do == "restart-in-minute":
        raise ScenarioError(f"{where}'when' has no meaning for {fault.do!r}; leave it out")
