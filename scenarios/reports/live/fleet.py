"""The replicas of a run: one line for each."""

from collections.abc import Callable, Sequence

from rich.text import Text

from scenarios.reports import words
from scenarios.reports.live.state import LiveState, ReplicaLine

STATE_STYLE = {
    "starting": "cyan",
    "new": "cyan",
    "up": "green",
    "draining": "yellow",
    "stopping": "yellow",
    "down": "red",
    "died": "bold red",
    "removed": "dim",
}


Shown = tuple[str, int, Callable[[ReplicaLine], str], int]
LEFT = ("version", "state", "waits for")
COLUMNS: Sequence[Shown] = (
    ("version", 8, lambda line: line.version, 9),
    ("state", 8, lambda line: line.state, 1),
    ("ready", 7, lambda line: _after(line.ready_after), 6),
    ("weight", 6, lambda line: _known(line.weight), 4),
    ("under way", 9, lambda line: _known(line.in_flight), 2),
    ("answered", 8, lambda line: f"{line.answered:,}", 5),
    ("restarts", 8, lambda line: str(line.restarts), 8),
    ("age", 7, lambda line: "" if line.age is None else words.clock(line.age), 7),
    ("waits for", 22, lambda line: line.waits_for, 3),
)
"""Name, width, what it shows, and how soon it is left out on a narrow screen: the highest first."""


def _after(seconds: float | None) -> str:
    return "not yet" if seconds is None else words.duration(seconds)


def _known(value: float | None) -> str:
    return words.MISSING if value is None else f"{value:,g}"


def replicas(state: LiveState, room: int, width: int) -> list[Text]:
    """The table of replicas; on a narrow screen the columns that tell least are left out."""
    every = state.lines
    shown = every[: max(room - 1, 0)]
    id_width = min(max([7, *(len(line.id) for line in every)]), 20)
    columns = _fitting(id_width, width)
    lines = [Text("replica".ljust(id_width), "bold")]
    for name, size, _, _ in columns:
        lines[0].append(f"  {name:>{size}}" if name not in LEFT else f"  {name:{size}}")
    for replica in shown:
        line = Text(words.clean(replica.id)[:id_width].ljust(id_width))
        for name, size, show, _ in columns:
            text = words.clean(show(replica))[:size]
            style = STATE_STYLE.get(replica.state, "") if name == "state" else ""
            line.append("  ").append(text.ljust(size) if name in LEFT else text.rjust(size), style)
        lines.append(line)
    hidden = len(every) - len(shown)
    if hidden:
        lines[-1] = Text(f"and {hidden + 1} more", "dim")
    return lines


def _fitting(id_width: int, width: int) -> list[Shown]:
    columns = sorted(COLUMNS, key=lambda column: column[3])
    while columns and id_width + sum(column[1] + 2 for column in columns) > width:
        columns.pop()
    return [column for column in COLUMNS if column in columns]
