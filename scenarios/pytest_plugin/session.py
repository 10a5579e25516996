"""What the pytest plugin does once a test asks for a rollout."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from scenarios.cli.questions.control_run import controlled
from scenarios.cli.running import Reviewed, run_and_review
from scenarios.evidence.outcome import Outcome
from scenarios.evidence.progress import Silence
from scenarios.evidence.run_folder import RunFolder
from scenarios.reports import jobs as job_words
from scenarios.reports import words
from scenarios.runner.environment import Environment, environment
from scenarios.scenario.experiment import Experiment
from scenarios.scenario.overrides import Changes
from scenarios.verdict import Judgement
from scenarios.verdict.model import Violation

T = TypeVar("T")

CAUSES_SHOWN = 5


class Explained(list[T]):
    """A list that a failed comparison with `[]` explains."""

    def __init__(self, items: Iterable[T], report: "Report") -> None:
        super().__init__(items)
        self._report = report

    def hitless_explanation(self) -> list[str]:
        """The lines that pytest shows."""
        return self._report.lines()


class Report:
    """What a rollout came to.

    Attributes:
        verdict: all of it, as in verdict.json.
        folder: the evidence.
        failed: the requests that failed.
        violations: acknowledged data that is not as it should be.
    """

    def __init__(self, judgement: Judgement, folder: Path) -> None:
        self.verdict = verdict = judgement.verdict
        self.folder = folder
        failed = [one.failure.outcome for one in judgement.failed]
        if verdict.requests.undispatched:  # the verdict only counts these
            requests = RunFolder(folder).requests.read()
            failed += [one for one in requests if not one.dispatched]
        self.failed: list[Outcome] = Explained(failed, self)
        self.violations: list[Violation] = Explained(verdict.integrity.violations, self)

    @property
    def passed(self) -> bool:
        """Whether the verdict is `pass`."""
        return self.verdict.verdict == "pass"

    @property
    def causes(self) -> dict[str, int]:
        """How many requests and jobs failed for each cause; accepted causes are left out."""
        counts: Counter[str] = Counter()
        for cause in self.verdict.causes:
            counts[cause.cause] += cause.count
        for found in self.verdict.jobs.causes if self.verdict.jobs else ():
            if not found.accepted:
                counts[found.cause] += found.count
        return dict(counts)

    @property
    def outcome(self) -> str:
        """How the release ended: `completed`, `rolled_back`, `aborted` or `failed`."""
        return self.verdict.rollout.outcome

    def lines(self) -> list[str]:
        """The verdict in a few lines: reasons, causes, downtime, and how to run it again."""
        verdict = self.verdict
        counted = f"{len(self.failed):,} of {verdict.requests.planned:,} requests failed"
        lines = [
            f"{verdict.verdict.upper()} {verdict.scenario} under {verdict.strategy}: {counted}"
        ]
        lines += [f"  {reason}" for reason in verdict.reasons]
        for cause in verdict.causes[:CAUSES_SHOWN]:
            example = ", ".join(cause.evidence.requests[:3])
            lines.append(f"  {cause.count:,} of {cause.cause}: {cause.title} (e.g. {example})")
        for found in verdict.jobs.causes[:CAUSES_SHOWN] if verdict.jobs else ():
            lines.append(f"  {found.count:,} of {found.cause}: {found.title}")
            lines += [f"    {line}" for line in job_words.cause_lines(found)]
        if verdict.downtime:
            lines.append(f"  downtime: {words.downtime_text(verdict)}")
        lines += [
            f"  {one.invariant}: {one.subject}: expected {one.expected}, found {one.found}"
            for one in verdict.integrity.violations[:CAUSES_SHOWN]
        ]
        return [
            *(words.clean(line) for line in lines),
            f"  again: {verdict.replay}",
            f"  evidence: {self.folder}",
        ]

    def __repr__(self) -> str:
        return "\n".join(self.lines())


class Session:
    """Rollouts of one test session, in a thread with an event loop of its own.

    Tests may have loops of their own, and several sessions side by side (pytest-xdist) share
    nothing: each has its own server and its own folders.

    Args:
        database_url: a Postgres server to use instead of an embedded one.
        database_log: the log of that server, as a file or a folder; None: what each scenario says.
    """

    def __init__(self, database_url: str | None, database_log: Path | None = None) -> None:
        self._database_url = database_url
        self._database_log = database_log
        self._ready: Future[tuple[asyncio.AbstractEventLoop, Environment, Callable[[], None]]]
        self._ready = Future()
        self._thread = threading.Thread(target=self._work, name="hitless", daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._loop, self._place, self._leave = self._ready.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def run(
        self,
        *,
        folder: Path,
        out: Path,
        scenario: str,
        strategy: str,
        seed: int = 1,
        settings: Sequence[str] = (),
        control: bool = False,
        **changes: float | None,
    ) -> Report:
        """Run a release and wait for its verdict.

        Args:
            folder: where a scenario file's path starts.
            out: where the run's folder goes.
            scenario: a built-in one, or a file.
            strategy: how its versions are deployed.
            seed: of all randomness.
            settings: any settings of the scenario, such as `policy.max_surge=25%`.
            control: whether the old version is first deployed again under the same traffic, so that
                failures which are as frequent there do not count against the release.
            changes: `replicas`, `rate`, `existing_rows`, `baseline`, `settle`.

        Raises:
            TypeError: there is no such change.
            UsageError: a change makes no sense.
            ScenarioError: the scenario is not there or not right.
            EnvironmentFailure: the run could not begin, or something that it stands on broke.
        """
        reference = str(folder / scenario) if scenario.endswith(".toml") else scenario
        wanted = Changes(
            settings=tuple(settings),
            database=self._database_url,
            database_log=self._database_log,
            control=control,
            **changes,  # type: ignore[arg-type]
        )
        experiment = wanted.experiment(reference, strategy, seed)
        running = asyncio.run_coroutine_threadsafe(
            self._work_on(experiment, out, control=control), self._loop
        )
        try:
            return Report(*running.result())
        except BaseException:
            running.cancel()  # Ctrl-C in pytest ends the run in order
            raise

    async def _work_on(self, experiment: Experiment, out: Path, *, control: bool) -> Reviewed:
        if control:
            experiment = await controlled(experiment, self._place, out, lambda _: Silence())
        return await run_and_review(experiment, self._place, out, Silence())

    def _work(self) -> None:
        try:
            asyncio.run(self._hold())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits
            if self._ready.done():
                self._error = error
            else:
                self._ready.set_exception(error)

    async def _hold(self) -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        async with environment(self._database_url) as place:
            self._ready.set_result((loop, place, lambda: _call(loop, done.set)))
            await done.wait()


def _call(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(function)
