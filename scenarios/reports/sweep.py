"""The results of a sweep: its frontier, the smallest settings that lose nothing, and its views."""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from scenarios.reports import words
from scenarios.reports.page.markup import Html

SHOWN = 30
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 360, 70, 50, 20
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.axis{stroke:#999}.point{fill:#9ab}"
    ".best{fill:#c33}.line{fill:none;stroke:#c33;stroke-dasharray:4 3}"
)


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One combination of settings, over all of its seeds.

    Attributes:
        settings: the varied settings, by their keys.
        seeds: how many runs were made.
        requests: how many requests they had.
        failed: how many of them failed.
        slow: how many were slow.
        completed: how many releases completed.
        seconds: how long the longest release took.
        extra_replica_seconds: how much more capacity ran during the release than the policy's
            replicas, in the most expensive run.
        most_replicas: how many replicas ran at most at the same time.
        causes: why requests failed, the most frequent reason first.
    """

    settings: Mapping[str, str]
    seeds: int
    requests: int
    failed: int
    slow: int
    completed: int
    seconds: float
    extra_replica_seconds: float
    most_replicas: int
    causes: Mapping[str, int] = msgspec.field(default_factory=dict)

    @property
    def lossless(self) -> bool:
        """Whether every release completed and no request failed."""
        return not self.failed and self.completed == self.seeds


class Smallest(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest value of one setting that loses nothing.

    Attributes:
        key: the setting.
        with_others: the least value with which some combination of the other settings loses
            nothing; absent if there is none.
        whatever_others: the least value from which on no combination loses anything; absent if
            there is none.
    """

    key: str
    with_others: str | None
    whatever_others: str | None


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """A whole sweep.

    Attributes:
        scenario: the scenario.
        strategy: the strategy.
        predicted: always true: a sweep is simulated.
        points: all combinations, in the order in which they were asked for.
        frontier: the numbers of those than which no other one is better in everything: rollout
            time, failed requests, and extra capacity.
        smallest: for each setting with numbers.
    """

    scenario: str
    strategy: str
    predicted: bool = True
    points: tuple[SweepPoint, ...]
    frontier: tuple[int, ...]
    smallest: tuple[Smallest, ...]


def sweep_of(scenario: str, strategy: str, points: Sequence[SweepPoint]) -> Sweep:
    """A sweep from its points."""
    keys = dict.fromkeys(key for point in points for key in point.settings)
    return Sweep(
        scenario=scenario,
        strategy=strategy,
        points=tuple(points),
        frontier=tuple(frontier(points)),
        smallest=tuple(one for key in keys if (one := smallest(points, key)) is not None),
    )


def frontier(points: Sequence[SweepPoint]) -> list[int]:
    """The numbers of the points that no other point beats, the quickest first.

    A point beats another one if it is as good in time, failures and capacity, and better in one of
    them (Pareto). Releases that did not complete are left out.
    """
    costs = {
        number: (one.seconds, one.failed / max(one.requests, 1), one.extra_replica_seconds)
        for number, one in enumerate(points)
        if one.completed == one.seeds
    }
    best = [
        number
        for number, mine in costs.items()
        if not any(
            other != mine and all(a <= b for a, b in zip(other, mine, strict=True))
            for other in costs.values()
        )
    ]
    return sorted(best, key=lambda number: (costs[number], number))


def smallest(points: Sequence[SweepPoint], key: str) -> Smallest | None:
    """The smallest value of a setting that loses nothing; None for a setting without numbers."""
    values: dict[float, tuple[str, list[bool]]] = {}
    for point in points:
        text = point.settings.get(key)
        if text is None:
            continue
        number = _number(text)
        if number is None:
            return None
        values.setdefault(number, (text, []))[1].append(point.lossless)
    if len(values) <= 1:
        return None
    ordered = [values[number] for number in sorted(values)]
    some = next((text for text, good in ordered if any(good)), None)
    every = None
    for text, good in reversed(ordered):
        if not all(good):
            break
        every = text
    return Smallest(key=key, with_others=some, whatever_others=every)


def _number(text: str) -> float | None:
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        return None


def sentences(sweep: Sweep) -> list[str]:
    """What the sweep says about single settings."""
    found = []
    for one in sweep.smallest:
        if one.whatever_others is not None and one.whatever_others == one.with_others:
            found.append(f"the smallest {one.key} that loses nothing is {one.whatever_others}")
        elif one.with_others is None:
            found.append(f"no value of {one.key} that was tried loses nothing")
        else:
            rest = (
                f"; from {one.whatever_others} on, no combination loses anything"
                if one.whatever_others is not None
                else "; no value of it loses nothing in all combinations"
            )
            found.append(
                f"the smallest {one.key} with which some combination loses nothing is "
                f"{one.with_others}{rest}"
            )
    return found


def sweep_table(sweep: Sweep) -> Table:
    """The frontier, and the other points as far as there is room."""
    keys = list(dict.fromkeys(key for point in sweep.points for key in point.settings))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    for key in keys:
        table.add_column(words.clean(key.rpartition(".")[2]), justify="right")
    for name in ("release", "failed", "of", "extra replica-s", "most", "why"):
        table.add_column(name, justify="left" if name == "why" else "right")
    rest = [number for number in range(len(sweep.points)) if number not in sweep.frontier]
    for number in [*sweep.frontier, *rest][:SHOWN]:
        point = sweep.points[number]
        best = number in sweep.frontier
        table.add_row(
            "*" if best else "",
            *(words.clean(point.settings.get(key, "")) for key in keys),
            words.duration(point.seconds) if point.completed == point.seeds else "not completed",
            f"{point.failed:,}",
            f"{point.requests:,}",
            f"{point.extra_replica_seconds:,.1f}",
            f"{point.most_replicas:,}",
            words.clean(next(iter(point.causes), "")),
            style="bold" if best else "",
        )
    return table


def sweep_notes(sweep: Sweep) -> list[Text]:
    """What belongs below the table."""
    notes = [Text(f"→ {one}") for one in sentences(sweep)]
    hidden = len(sweep.points) - SHOWN
    if hidden > 0:
        notes.append(Text(f"and {hidden:,} more combinations (--json has all of them)", "dim"))
    notes.append(
        Text(
            "* no other combination is better in everything. All numbers are predicted. most: the "
            "most replicas at the same time",
            "dim",
        )
    )
    return notes


def sweep_plot(sweep: Sweep) -> str:
    """Rollout time against failed requests, as an SVG file; the frontier is marked."""
    points = [one for one in sweep.points if one.completed == one.seeds]
    longest = max((one.seconds for one in points), default=1.0) or 1.0
    most = max((_share(one) for one in points), default=0.0) or 1.0
    extra = max((one.extra_replica_seconds for one in points), default=0.0) or 1.0

    def x(point: SweepPoint) -> float:
        return LEFT + point.seconds / longest * (WIDTH - LEFT - 30)

    def y(point: SweepPoint) -> float:
        height = HEIGHT - TOP - BOTTOM
        return HEIGHT - BOTTOM - math.log1p(_share(point) * 1e4) / math.log1p(most * 1e4) * height

    best = [sweep.points[number] for number in sweep.frontier]
    marks = [
        Html('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}"><title>{}</title></circle>')
        .format(
            "best" if one in best else "point",
            x(one),
            y(one),
            3 + 7 * math.sqrt(max(one.extra_replica_seconds, 0.0) / extra),
            _about(one),
        )
        for one in points
    ]  # fmt: skip
    line = " ".join(f"{x(one):.1f},{y(one):.1f}" for one in best)
    title = f"{sweep.scenario} · {sweep.strategy} · predicted"
    return str(
        Html(
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" '
            'height="{h}"><style>{style}</style><text x="{left}" y="14">{title}</text>'
            '<path class="axis" fill="none" d="M{left} {top}V{low}H{right}"/>'
            '<text x="{middle}" y="{foot}">time of the release, up to {longest}</text>'
            '<text x="8" y="{top}">failed</text><text x="8" y="{second}">{most}</text>'
            '<text x="8" y="{low}">0 %</text>'
            '<polyline class="line" points="{line}"/>{marks}</svg>\n'
        ).format(
            w=WIDTH,
            h=HEIGHT,
            style=Html(_STYLE),
            left=LEFT,
            title=title,
            top=TOP + 10,
            low=HEIGHT - BOTTOM,
            right=WIDTH - 20,
            middle=WIDTH // 2 - 80,
            foot=HEIGHT - 18,
            longest=words.duration(longest),
            second=TOP + 26,
            most=words.share(most) if most >= 0.01 else f"{most * 100:.2g} %",  # noqa: PLR2004 - one per cent
            line=line,
            marks=Html().join(marks),
        )
    )


def _share(point: SweepPoint) -> float:
    return point.failed / max(point.requests, 1)


def _about(point: SweepPoint) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in point.settings.items())
    return (
        f"{settings}: {words.duration(point.seconds)}, {point.failed:,} of {point.requests:,} "
        f"failed, {point.extra_replica_seconds:,.1f} replica-s more"
    )


def merged(points: Iterable[SweepPoint]) -> SweepPoint:
    """The runs of one combination with several seeds as one point.

    Raises:
        ValueError: there is none.
    """
    several = list(points)
    if not several:
        raise ValueError("a point needs at least one run")
    causes: dict[str, int] = {}
    for one in several:
        for cause, count in one.causes.items():
            causes[cause] = causes.get(cause, 0) + count
    return SweepPoint(
        settings=several[0].settings,
        seeds=sum(one.seeds for one in several),
        requests=sum(one.requests for one in several),
        failed=sum(one.failed for one in several),
        slow=sum(one.slow for one in several),
        completed=sum(one.completed for one in several),
        seconds=max(one.seconds for one in several),
        extra_replica_seconds=max(one.extra_replica_seconds for one in several),
        most_replicas=max(one.most_replicas for one in several),
        causes=dict(sorted(causes.items(), key=lambda item: (-item[1], item[0]))),
    )
