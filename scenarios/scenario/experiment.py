"""An experiment: a scenario, a strategy and a seed."""

from dataclasses import dataclass

from orchestrator.strategies import STRATEGIES
from scenarios.scenario.reader import Loaded
from scenarios.scenario.spec import Scenario

STRATEGY_NAMES = tuple(STRATEGIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One run, before it is run.

    Attributes:
        loaded: the scenario, with whatever flags changed in it.
        strategy: one of `STRATEGY_NAMES`.
        seed: of all randomness.
        replay: the command that runs the same again.
        hold: whether the run goes on after the release until it is told to finish.
    """

    loaded: Loaded
    strategy: str
    seed: int
    replay: str
    hold: bool = False

    @property
    def scenario(self) -> Scenario:
        """What the scenario says."""
        return self.loaded.scenario
