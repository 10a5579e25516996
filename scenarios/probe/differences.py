"""PURE: where two profiles of one server differ, cell by cell.

Times may differ by a second, and by as long as the server waited for a core in either of them.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from scenarios.probe.profile import Exit, Profile
from scenarios.probe.words import PART_OF, TITLES, finding_of, text_of

TOLERANCE_SECONDS = 1.0
PIECE_SECONDS = 0.5
_ENDS_IN_SILENCE = {
    # What each finding's fate would be, had what happened later not been watched.
    "in_flight": "silent",
    "long_request": "silent",
    "upload": "silent",
    "idle": "open",
    "keep_alive": "open",
    "websocket": "open",
    "stream": "running",
    "endless_stream": "running",
}
_BY_CHANCE = {"chunks", "late", "waiting", "count"}
"""Fields that depend on the moment at which the signal came; what became of each is compared.

So does the number of processes: some servers start a helper now and then.
"""
_NOT_COMPARED = ("startup",)
"""How fast a server starts is the machine's affair."""


class Difference(msgspec.Struct, frozen=True):
    """A cell that differs.

    Attributes:
        cell: the finding's name.
        before: what it said.
        after: what it says.
    """

    cell: str
    before: str
    after: str

    def __str__(self) -> str:
        """One line for people."""
        return f"{TITLES[self.cell]}: {self.before} -> {self.after}"


def differences(
    before: Profile, after: Profile, *, tolerance: float = TOLERANCE_SECONDS
) -> list[Difference]:
    """The findings that are in both profiles and do not say the same.

    A profile that was watched longer is read as if it had been watched as briefly as the other.
    """
    watch = min(before.watch_seconds, after.watch_seconds)
    found = []
    for name in TITLES:
        if name in _NOT_COMPARED or name in PART_OF:
            continue
        old, new = (shortened(name, finding_of(one, name), watch) for one in (before, after))
        if old is None or new is None:
            continue
        allowed = tolerance + sum(
            one.core_wait.get(PART_OF.get(name, name), 0.0) for one in (before, after)
        )
        if _same(msgspec.to_builtins(old), msgspec.to_builtins(new), allowed):
            continue
        cells = (name, *(part for part, whole in PART_OF.items() if whole == name))
        told = [Difference(cell, text_of(cell, old), text_of(cell, new)) for cell in cells]
        found += [one for one in told if one.before != one.after] or [
            _in_full(name, old, new, allowed)
        ]
    return found


def _in_full(name: str, old: object, new: object, tolerance: float) -> Difference:
    """A difference that the short texts do not show, value by value."""
    before, after = (dict(_leaves(msgspec.to_builtins(one))) for one in (old, new))
    names = [
        leaf
        for leaf in dict.fromkeys((*before, *after))
        if not _same(before.get(leaf), after.get(leaf), tolerance)
    ]
    return Difference(
        name,
        *(", ".join(f"{leaf} {one.get(leaf)}" for leaf in names) for one in (before, after)),
    )


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, object]]:
    """The values of a finding by their paths, such as `exit status`."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _leaves(one, (*path, key))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value, start=1):
            yield from _leaves(one, (*path, str(number)))
    else:
        yield " ".join(path).replace("_", " "), value


def shortened(name: str, finding: Any, watch: float) -> Any:  # noqa: ANN401 - any of the findings
    """The finding as it would have been, had the server been watched for so long only."""
    if not isinstance(finding, msgspec.Struct):
        return finding
    changes: dict[str, object] = {}
    end = getattr(finding, "exit", None)
    if isinstance(end, Exit) and (end.status is None or end.seconds >= watch):
        changes["exit"] = Exit(None, watch)
    fate, seconds = getattr(finding, "fate", None), getattr(finding, "seconds", None)
    silence = _ENDS_IN_SILENCE.get(name)
    if silence is not None and (fate == silence or (seconds is not None and seconds >= watch)):
        changes |= {"fate": silence, "seconds": watch if name != "idle" else None}
        nothing = {"status": None, "ending": None, "connection": None, "code": None}
        changes |= {field: value for field, value in nothing.items() if hasattr(finding, field)}
        if name == "websocket":
            changes["seconds"] = None
        if hasattr(finding, "chunks"):
            changes["chunks"] = 0
    return msgspec.structs.replace(finding, **changes)


def _same(old: object, new: object, tolerance: float) -> bool:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if old.keys() != new.keys():
            return False
        # How many pieces came before a cut is a time as well: half a second each.
        if abs(old.get("chunks", 0) - new.get("chunks", 0)) * PIECE_SECONDS > tolerance:
            return False
        ignored = _BY_CHANCE | ({"ending"} if _killed(old) and _killed(new) else set())
        return all(_same(old[key], new[key], tolerance) for key in old.keys() - ignored)
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(
            _same(one, other, tolerance) for one, other in zip(old, new, strict=True)
        )
    if isinstance(old, float) and isinstance(new, float):
        return abs(old - new) <= tolerance
    return old == new


def _killed(finding: Mapping[str, Any]) -> bool:
    """Whether the signal itself ended the process, and thereby cut something.

    Then the kernel closes its connections: with a reset where it had not read something yet, which
    is a matter of the moment.
    """
    status = (finding.get("exit") or {}).get("status")
    return finding.get("fate") == "cut" and status is not None and status < 0
