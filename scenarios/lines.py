"""Which line of a TOML file sets a key, as well as its text can tell: for messages alone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=")


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one flag that sets a key.

    Attributes:
        path: where it is; of a flag, the flag itself.
        text: what it says.
        flag: whether it is one.
    """

    path: Path
    text: str
    flag: bool = False

    def at(self, line: int) -> str:
        """The place of a line, as messages begin."""
        return f"{self.path}" if self.flag else f"{self.path}:{line}"

    def find(self, keys: list[str], *, exactly: bool = True) -> tuple[int, list[str]] | None:
        """The line that sets the last of the keys, and their real names.

        Args:
            keys: the path to it; `*` stands for any one key, a number for an element of an array.
            exactly: if not, the line that sets the most of them will do.
        """
        best: tuple[int, list[str]] | None = None
        longest = 0
        for number, full in _settings(self.text):
            if len(full) > len(keys) or not _fits(full, keys):
                continue
            if len(full) == len(keys):
                return number, full
            if not exactly and len(full) > longest:
                longest, best = len(full), (number, [*full, *keys[len(full) :]])
        return best


def _fits(full: list[str], keys: list[str]) -> bool:
    return all(want in ("*", name) for want, name in zip(keys, full, strict=False))


def _settings(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each line that sets something, with the path to it; elements of arrays by their number."""
    table: list[str] = []
    arrays: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            names = tuple(name.strip(" \"'") for name in header[2].split("."))
            if header[1] == "[[":
                arrays = {old: at for old, at in arrays.items() if old[: len(names)] != names} | {
                    names: arrays.get(names, -1) + 1
                }
                yield number, _numbered(names, arrays)[:-1]
            table = _numbered(names, arrays)
            yield number, table
        elif key:
            yield number, [*table, *(name.strip("\"'") for name in key[1].split("."))]


def _numbered(names: tuple[str, ...], arrays: dict[tuple[str, ...], int]) -> list[str]:
    """The path to a table, with the number of the present element behind each array."""
    path: list[str] = []
    for length, name in enumerate(names, start=1):
        path.append(name)
        if names[:length] in arrays:
            path.append(str(arrays[names[:length]]))
    return path
