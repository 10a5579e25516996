"""Apply the flags of a command line to a scenario; the result is an experiment."""

import re
import shlex
from dataclasses import replace as replaced
from pathlib import Path
from typing import Self, get_args

import msgspec

from orchestrator.personas import PERSONAS
from orchestrator.policy import PolicyError
from orchestrator.routers.capabilities import Kind
from scenarios.errors import UsageError, near
from scenarios.scenario.checks import NEED_DATABASE, OWN_ROUTER, check_size
from scenarios.scenario.experiment import ALL_STRATEGIES, Experiment
from scenarios.scenario.platform_spec import DEPLOYMENT
from scenarios.scenario.pod_checks import check_pods
from scenarios.scenario.reader import Loaded, load
from scenarios.scenario.repeat import repeated
from scenarios.scenario.simulation_checks import PLATFORMS, SIMULATED_FAULTS, PlatformName
from scenarios.scenario.spec import FaultSpec, Scenario
from scenarios.traffic.settings import MOST_RATE, TrafficSettings

_FAULT = re.compile(
    r"(?P<do>[a-z-]+)(?::(?P<seconds>\d+(?:\.\d+)?))?(?:@(?P<after>\d+(?:\.\d+)?))?"
)
FAULTS = ("kill", "freeze", "restart-postgres", "crash-postgres", "block", "freeze-load")
"""The faults that `--fault` accepts; a scenario file can also use `sql`."""

ROUTERS: tuple[str, ...] = get_args(Kind)
"""The routers that `--router` accepts."""

USUAL_STRATEGY = "rolling"
"""The strategy of a run with processes that names none."""

AUTO = "auto"
"""The value of `--rate` that lets the machine decide."""

SERVER_FAULTS = frozenset({"restart-postgres", "crash-postgres"})


def parse_fault(text: str) -> FaultSpec:
    """Read the value of `--fault`.

    Args:
        text: such as `kill`, `freeze:3` (for 3 seconds) or `block:2@0.5` (for 2 seconds, from 0.5
            seconds after the start of the rollout on).

    Raises:
        UsageError: the text describes no fault.
    """
    match = _FAULT.fullmatch(text)
    if match is None or match["do"] not in FAULTS:
        word = text.partition(":")[0].partition("@")[0]
        raise UsageError(
            f"--fault {text}: expected a fault such as 'kill', 'freeze:3' or 'block:2@0.5'; "
            + near(word, FAULTS)
        )
    given = {
        name: float(value)
        for name, value in (("seconds", match["seconds"]), ("after_seconds", match["after"]))
        if value is not None
    }
    try:
        return msgspec.convert({"do": match["do"], **given}, FaultSpec)
    except msgspec.ValidationError as error:
        raise UsageError(f"--fault {text}: {error}") from error


def at_rate(traffic: TrafficSettings, rate: float) -> TrafficSettings:
    """The traffic with a constant rate of arrivals.

    Raises:
        UsageError: this is no rate, or the scenario has no arrivals whose rate could change.
    """
    if not 0 < rate <= MOST_RATE:
        most = f"{MOST_RATE:,.0f}"
        raise UsageError(f"--rate {rate:g}: expected a number above 0, and at most {most}")
    if not traffic.asked_rate:
        raise UsageError(f"--rate {rate:g}: this scenario has no arrivals: all its users stay")
    if traffic.arrivals == "recorded":
        raise UsageError(f"--rate {rate:g}: this scenario replays recorded arrivals")
    return msgspec.structs.replace(traffic, rate=rate, profile=())


def _of_size(scenario: Scenario, replicas: int) -> Scenario:
    try:
        policy = msgspec.structs.replace(scenario.policy, replicas=replicas)
    except PolicyError as error:
        raise UsageError(f"--replicas {replicas}: {error}") from error
    return msgspec.structs.replace(scenario, policy=policy)


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What flags change in a scenario; a field that is None changes nothing.

    With `auto_rate`, the machine is measured first, and its rate is then set here.
    """

    replicas: int | None = None
    rate: float | None = None
    existing_rows: int | None = None
    baseline: float | None = None
    settle: float | None = None
    database: str | None = None
    settings: tuple[str, ...] = ()
    hold: bool = False
    faults: tuple[str, ...] = ()
    repeat: int = 1
    router: str | None = None
    persona: str | None = None
    control: bool = False
    database_log: Path | None = None
    platform: str = "local"
    context: str | None = None
    auto_rate: bool = False

    def with_rate(self, text: str | None) -> Self:
        """The same with what `--rate` says: a number, or `auto`; None changes nothing.

        Raises:
            UsageError: it is neither.
        """
        if text is None:
            return self
        if text == AUTO:
            return msgspec.structs.replace(self, rate=None, auto_rate=True)
        try:
            rate = float(text)
        except ValueError:
            raise UsageError(f"--rate {text}: expected a number above 0, or {AUTO}") from None
        return msgspec.structs.replace(self, rate=rate, auto_rate=False)

    def experiment(self, reference: str, strategy: str | None, seed: int) -> Experiment:
        """The experiment that the command asks for.

        Args:
            reference: the scenario.
            strategy: the strategy; None: the one of the scenario's platform.
            seed: the seed of all random numbers.

        Raises:
            UsageError: the value of a flag is wrong.
            ScenarioError: the scenario does not exist, or something in it is wrong.
        """
        if strategy is not None and strategy not in ALL_STRATEGIES:
            raise UsageError(f"unknown strategy {strategy!r}; {near(strategy, ALL_STRATEGIES)}")
        if self.router is not None and self.router not in ROUTERS:
            raise UsageError(f"--router {self.router}: {near(self.router, ROUTERS)}")
        chosen = () if self.router is None else (f"router.kind={self.router}",)
        platform = self._platform()
        loaded = load(
            reference, (*self._persona(), *self.settings, *chosen), platform, self.replicas
        )
        scenario = loaded.scenario
        on_cluster = scenario.platform.on_cluster and platform != "simulated"
        strategy = self._strategy(loaded, strategy, on_cluster=on_cluster)
        replace = msgspec.structs.replace
        if self.replicas is not None:
            check_size(self.replicas, f"--replicas {self.replicas}: ", platform)
            scenario = _of_size(scenario, self.replicas)
        if self.rate is not None:
            scenario = replace(scenario, traffic=at_rate(scenario.traffic, self.rate))
        if self.existing_rows is not None:
            if scenario.database is None or scenario.database.rows is None:
                raise UsageError(f"--existing-rows: scenario {reference} has no [database.rows]")
            rows = replace(scenario.database.rows, count=self.existing_rows)
            scenario = replace(scenario, database=replace(scenario.database, rows=rows))
        scenario = self._with_log(scenario, reference)
        phases = scenario.phases
        if self.baseline is not None:
            phases = replace(phases, baseline_seconds=self.baseline)
        if self.settle is not None:
            phases = replace(phases, settle_seconds=self.settle)
        scenario = replace(scenario, phases=phases)
        scenario = self._broken(scenario, reference)
        if self.repeat > 1:
            scenario = self._repeated(scenario, reference)
        return Experiment(
            loaded=replaced(loaded, scenario=scenario),
            strategy=strategy,
            seed=seed,
            replay=self._command(reference, strategy, seed),
            hold=self.hold,
            platform=platform,
            context=self.context,
        )

    def _strategy(self, loaded: Loaded, strategy: str | None, *, on_cluster: bool) -> str:
        """The strategy of the run, if it and the other flags fit the platform.

        Raises:
            UsageError: they do not.
            ScenarioError: the scenario asks for what pods behind a Service cannot do.
        """
        scenario = loaded.scenario
        if not on_cluster:
            if self.context is not None:
                raise UsageError('--context needs a scenario with platform.kind = "kubernetes"')
            if strategy == DEPLOYMENT:
                raise UsageError(
                    f'--strategy {strategy} is for scenarios with platform.kind = "kubernetes"'
                )
            return strategy or USUAL_STRATEGY
        chosen = strategy or scenario.platform.strategy
        for flag, given in (
            ("--replicas", self.replicas if chosen == DEPLOYMENT else None),
            ("--persona", self.persona),
            ("--fault", self.faults),
            ("--hold", self.hold),
            ("--control", self.control),
        ):
            if given:
                raise UsageError(f"{flag} has no meaning on a cluster; the manifests say how it is")
        if scenario.database is not None and self.database is None:
            raise UsageError(
                "the pods of a cluster cannot reach the embedded Postgres; give a server that they "
                "and this machine reach with --database URL"
            )
        if chosen != DEPLOYMENT:
            check_pods(loaded, chosen)
        return chosen

    def _platform(self) -> PlatformName:
        if self.platform not in PLATFORMS:
            raise UsageError(f"--platform {self.platform}: {near(self.platform, PLATFORMS)}")
        platform: PlatformName = "simulated" if self.platform == "simulated" else "local"
        if platform == "local":
            return platform
        for flag, given in (
            ("--hold", self.hold),
            ("--database", self.database),
            ("--database-log", self.database_log),
            ("--existing-rows", self.existing_rows),
        ):
            if given:
                raise UsageError(f"{flag} has no meaning with --platform simulated")
        if self.router not in (None, OWN_ROUTER):
            raise UsageError(
                f"--router {self.router}: --platform simulated knows only the router {OWN_ROUTER}"
            )
        return platform

    def _with_log(self, scenario: Scenario, reference: str) -> Scenario:
        """The scenario with the log of the user's own server that the flag names, if it does."""
        flag = self.database_log
        if flag is not None and self.database is None:
            raise UsageError("--database-log needs --database: the embedded server's log is known")
        if flag is not None and not flag.exists():
            raise UsageError(f"--database-log {flag}: there is no such file or folder")
        database = scenario.database
        if database is None or self.database is None:
            return scenario
        if flag is not None:
            named = msgspec.structs.replace(database, log=str(flag.absolute()))
            return msgspec.structs.replace(scenario, database=named)
        if database.log is not None and not Path(database.log).exists():
            raise UsageError(
                f"scenario {reference}: database.log: there is no file or folder {database.log}"
            )
        return scenario

    def _persona(self) -> tuple[str, ...]:
        """The persona as a setting; single settings may change its values."""
        if self.persona is None:
            return ()
        if self.persona not in PERSONAS:
            raise UsageError(f"unknown persona {self.persona!r}; {near(self.persona, PERSONAS)}")
        return (f'policy.persona="{self.persona}"',)

    def _repeated(self, scenario: Scenario, reference: str) -> Scenario:
        if any(step.migrate_down for step in scenario.release.steps):
            raise UsageError(
                f"--repeat {self.repeat}: scenario {reference} takes its migrations back, so the "
                "next release would lack them"
            )
        if not any(step.deploy for step in scenario.release.steps):
            raise UsageError(
                f"--repeat {self.repeat}: the release of scenario {reference} deploys only "
                "services; write further steps into the file"
            )
        return repeated(scenario, self.repeat)

    def _broken(self, scenario: Scenario, reference: str) -> Scenario:
        """The scenario with the faults of the flags in addition to its own."""
        faults = (*scenario.faults, *(parse_fault(text) for text in self.faults))
        kinds = {fault.do for fault in faults}
        if scenario.database is None and NEED_DATABASE & kinds:
            raise UsageError(f"--fault: scenario {reference} has no database")
        for kind in kinds.difference(SIMULATED_FAULTS) if self.platform == "simulated" else ():
            raise UsageError(
                f"--fault: {kind!r} is not simulated; {', '.join(SIMULATED_FAULTS)} are"
            )
        if self.database is not None and SERVER_FAULTS & kinds:
            raise UsageError("--fault: hitless restarts only the embedded Postgres, not --database")
        return msgspec.structs.replace(scenario, faults=faults)

    def _command(self, reference: str, strategy: str, seed: int) -> str:
        words = ["hitless", "run", reference, "--strategy", strategy, "--seed", str(seed)]
        for name in ("replicas", "rate", "existing_rows", "baseline", "settle"):
            value = getattr(self, name)
            if value is not None:
                words += [f"--{name.replace('_', '-')}", f"{value:g}"]
        words += _option("--persona", self.persona)
        for setting in self.settings:
            words += ["--set", setting]
        for fault in self.faults:
            words += ["--fault", fault]
        words += _option("--router", self.router)
        if self.platform != "local":
            words += ["--platform", self.platform]
        words += _option("--context", self.context)
        if self.repeat > 1:
            words += ["--repeat", str(self.repeat)]
        if self.control:
            words += ["--control"]
        if self.database is not None:
            words += ["--database", "URL"]  # a URL may hold a password
        words += _option("--database-log", self.database_log)
        return shlex.join(words)


def _option(name: str, value: object) -> list[str]:
    """An option with its value, as words of a command; nothing without a value."""
    return [] if value is None else [name, str(value)]
