"""An experiment: a scenario, a strategy and a seed."""

from dataclasses import dataclass

from orchestrator.strategies import STRATEGIES
from scenarios.evidence.control_run import ControlRun, Role
from scenarios.scenario.platform_spec import DEPLOYMENT
from scenarios.scenario.reader import Loaded
from scenarios.scenario.simulation_checks import PlatformName
from scenarios.scenario.spec import Scenario

STRATEGY_NAMES = tuple(STRATEGIES)
"""Our own strategies."""

ALL_STRATEGIES = (*STRATEGY_NAMES, DEPLOYMENT)
"""These, and the one of a cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One run, before it is run.

    Attributes:
        loaded: the scenario, with the changes that flags made.
        strategy: one of `ALL_STRATEGIES`.
        seed: the seed of all random numbers.
        replay: the command that repeats the run.
        hold: whether the traffic continues after the release until somebody says `finish`.
        role: whether this is a release, or the control run of one.
        control: the control run with which the release is compared; None if there is none.
        platform: `local`: real processes; `simulated`: a model of them, in virtual time.
        context: the context of the kubeconfig that a flag names, for a run on a cluster.
    """

    loaded: Loaded
    strategy: str
    seed: int
    replay: str
    hold: bool = False
    role: Role = "release"
    control: ControlRun | None = None
    platform: PlatformName = "local"
    context: str | None = None

    @property
    def on_cluster(self) -> bool:
        """Whether the replicas are pods of a cluster."""
        return self.scenario.platform.on_cluster and self.platform != "simulated"

    @property
    def is_compared(self) -> bool:
        """Whether this is a control run, or a release that is judged beside one."""
        return self.role == "control" or self.control is not None

    @property
    def scenario(self) -> Scenario:
        """The scenario as data."""
        return self.loaded.scenario
