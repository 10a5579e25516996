"""Simulated runs of scenarios, as `hitless run --platform simulated` makes them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.evidence.event import Event
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.progress import Silence
from scenarios.evidence.run_folder import RunFolder
from scenarios.review import review, write_reports
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.overrides import Changes
from scenarios.simulation.run import SimulatedExperiment
from scenarios.verdict import Judgement, Verdict


@dataclass(frozen=True, slots=True)
class Predicted:
    """A simulated run that has ended, and its verdict."""

    experiment: Experiment
    folder: Path
    judgement: Judgement

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    @property
    def requests(self) -> list[Outcome]:
        return list(RunFolder(self.folder).requests.read())

    @property
    def events(self) -> list[Event]:
        return list(RunFolder(self.folder).events.read())


def predicted(
    scenario: str | Path,
    folder: Path,
    *settings: str,
    strategy: str = "rolling",
    seed: int = 1,
    reports: bool = False,
    **changes: Any,
) -> Predicted:
    """Simulate a scenario; `folder` is made, and has the run's evidence then."""
    folder.mkdir(parents=True)
    experiment = Changes(platform="simulated", settings=settings, **changes).experiment(
        str(scenario), strategy, seed
    )
    SimulatedExperiment(experiment, folder, Silence()).run()
    judgement = review(folder)
    if reports:
        write_reports(folder, judgement)
    return Predicted(experiment, folder, judgement)
