"""Simulates one experiment with many combinations of settings, on any executor."""

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from typing import NamedTuple

from balancer.proxy.error_responses import ErrorResponse
from orchestrator.errors import OrchestratorError
from orchestrator.rollout import Rollout
from orchestrator.simulated.chance import stream
from orchestrator.simulated.request import AnsweredMany, Request
from orchestrator.simulated.world import SimulatedRun, SimulatedWorld, simulate
from orchestrator.virtual_time import VirtualTimeError
from scenarios.errors import UsageError
from scenarios.reports.sweep import SweepPoint, merged

_RANGE = re.compile(
    r"(?P<least>-?\d+(?:\.\d+)?)\.\.(?P<most>-?\d+(?:\.\d+)?)(?::(?P<step>\d+(?:\.\d+)?))?"
)
_SUCCESS = 200
_NS = 1e9
MOST_VALUES = 1000


class Knob(NamedTuple):
    """A setting that is varied.

    Attributes:
        key: its key in the scenario, such as `policy.max_surge`.
        values: the values to try.
        span: the least and the most value to draw from; None if there are only single values.
    """

    key: str
    values: tuple[str, ...]
    span: tuple[float, float] | None = None

    def draw(self, share: float) -> str:
        """The value that belongs to a random number from 0 up to (not including) 1."""
        if self.span is None:
            return self.values[int(share * len(self.values))]
        least, most = self.span
        return f"{least + share * (most - least):.4g}"


def knob(text: str) -> Knob:
    """Read the value of `--vary`.

    Args:
        text: `KEY=1,2,3`, or a range `KEY=0..5:0.5`, whose step only a grid needs.

    Raises:
        UsageError: the text is neither.
    """
    key, separator, given = text.partition("=")
    key, given = key.strip(), given.strip()
    if not (separator and key and given):
        raise UsageError(
            f"--vary {text}: expected KEY=VALUES, such as policy.max_surge=1,25%,50% or "
            "policy.termination.pre_stop_seconds=0..5:1"
        )
    match = _RANGE.fullmatch(given)
    if match is None:
        return Knob(key, tuple(_split(given)))
    least, most = float(match["least"]), float(match["most"])
    if most <= least:
        raise UsageError(f"--vary {text}: the range must rise")
    if match["step"] is None:
        return Knob(key, (), (least, most))
    step = float(match["step"])
    count = int((most - least) / step + 1e-9) + 1 if step > 0 else 0
    if not 1 <= count <= MOST_VALUES:
        raise UsageError(f"--vary {text}: the step must give 1 to {MOST_VALUES:,} values")
    return Knob(key, tuple(f"{least + n * step:.10g}" for n in range(count)), (least, most))


def _split(text: str) -> Iterator[str]:
    """The parts between commas that are not within brackets or quotes."""
    depth, quoted, begin = 0, "", 0
    for index, letter in enumerate(text):
        if quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "\"'":
            quoted = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        elif letter == "," and not depth:
            yield text[begin:index].strip()
            begin = index + 1
    yield text[begin:].strip()


def combinations(knobs: Sequence[Knob], draws: int | None, seed: int) -> Iterator[dict[str, str]]:
    """The combinations of settings to try: all of them, or so many at random.

    Raises:
        UsageError: a grid needs a step for each range.
    """
    if draws is not None:
        chance = stream(seed, "sweep")
        for _ in range(draws):
            yield {one.key: one.draw(chance.random()) for one in knobs}
        return
    for one in knobs:
        if not one.values:
            least, most = one.span or (0.0, 0.0)
            raise UsageError(
                f"--vary {one.key}={least:g}..{most:g}: a grid needs a step, such as "
                f"{least:g}..{most:g}:{(most - least) / 5:g}; or use --random N"
            )
    for values in itertools.product(*(one.values for one in knobs)):
        yield dict(zip((one.key for one in knobs), values, strict=True))


class Task(NamedTuple):
    """One simulated run of a sweep, with all that it needs; it can be sent to another machine.

    Attributes:
        number: of its combination.
        settings: the combination.
        run: what is simulated.
        slow_ns: from here on a request is slow.
    """

    number: int
    settings: Mapping[str, str]
    run: SimulatedRun
    slow_ns: int


class _Account:
    """What became of the requests of one run, as numbers."""

    def __init__(self, slow_ns: int) -> None:
        self.failed: Counter[str] = Counter()
        self.slow = 0
        self._slow_ns = slow_ns
        self.world: SimulatedWorld | None = None

    def answered(self, request: Request, status: int, sqlstate: str | None) -> None:
        """A replica answered."""
        if status != _SUCCESS:
            self.failed[f"sqlstate:{sqlstate}" if sqlstate else f"status:{status}"] += 1
        elif self.world is not None:
            self.slow += self.world.events.clock.ns - request.at_ns > self._slow_ns

    def refused(self, request: Request, response: ErrorResponse) -> None:
        """The balancer answered by itself."""
        del request
        self.failed[response.error] += 1

    def gave_up(self, request: Request) -> None:
        """Its user waited for too long."""
        del request
        self.failed["timeout"] += 1

    def answered_many(self, many: AnsweredMany) -> None:
        """Replicas answered many, all with success."""
        self.slow += int((many.answered_ns - many.at_ns > self._slow_ns).sum())


def carry_out(task: Task) -> tuple[int, SweepPoint]:
    """Simulate one run; returns the number of its combination, and what it came to."""
    account = _Account(task.slow_ns)
    window = [0, 0]

    def on_phase(name: str, world: SimulatedWorld, rollout: Rollout) -> None:
        del rollout
        account.world = world
        if name in ("rollout", "settle"):
            window[name == "settle"] = world.events.clock.ns

    policy = task.run.policy
    try:
        result = simulate(task.run, account, on_phase=on_phase)
    except (OrchestratorError, VirtualTimeError) as error:
        return task.number, SweepPoint(
            settings=task.settings,
            seeds=1,
            requests=0 if account.world is None else account.world.planned,
            failed=account.failed.total(),
            slow=account.slow,
            completed=0,
            seconds=0.0,
            extra_replica_seconds=0.0,
            most_replicas=0,
            causes={f"it ended with: {error}"[:120]: 1},
        )
    world = account.world
    assert world is not None  # noqa: S101 - it has ended
    extra, most = _capacity(world, window[0], window[1], policy.replicas)
    return task.number, SweepPoint(
        settings=task.settings,
        seeds=1,
        requests=world.planned,
        failed=account.failed.total(),
        slow=account.slow,
        completed=int(result.outcome == "completed"),
        seconds=round(result.seconds, 6),
        extra_replica_seconds=round(extra, 6),
        most_replicas=most,
        causes=dict(account.failed.most_common(5)),
    )


def _capacity(
    world: SimulatedWorld, begin_ns: int, end_ns: int, replicas: int
) -> tuple[float, int]:
    """How much more capacity than the fleet's ran in that time, and the most at the same time."""
    changes: list[tuple[int, int]] = []
    for one in world.platform.replicas.values():
        started = max(one.replica.started_ns, begin_ns)
        ended_ns = None if one.ended is None else one.ended.ended_ns
        ended = min(end_ns if ended_ns is None else ended_ns, end_ns)
        if ended > started:
            changes += [(started, 1), (ended, -1)]
    changes.sort()
    running = most = 0
    total, last = 0, begin_ns
    for at_ns, change in changes:
        total += running * (at_ns - last)
        last = at_ns
        running += change
        most = max(most, running)
    return total / _NS - replicas * (end_ns - begin_ns) / _NS, most


def carry_out_all(tasks: Sequence[Task], executor: Executor) -> Iterator[tuple[int, SweepPoint]]:
    """Simulate all runs on an executor, and yield what each came to as it ends.

    Whatever the order, the same tasks give the same points.
    """
    futures = [executor.submit(carry_out, task) for task in tasks]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def points_of(found: Sequence[tuple[int, SweepPoint]]) -> list[SweepPoint]:
    """The points of all combinations, in their order, each over all of its seeds."""
    groups: dict[int, list[SweepPoint]] = {}
    for number, point in found:
        groups.setdefault(number, []).append(point)
    return [merged(groups[number]) for number in sorted(groups)]
