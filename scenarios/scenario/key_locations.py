"""Which line of a TOML file sets a key, as well as its text can tell: for messages alone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"\s*([\w.\"'-]+)\s*=\s*(\[?)")


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
        for number, full, _ in _settings(self.text):
            if len(full) > len(keys) or not _fits(full, keys):
                continue
            if len(full) == len(keys):
                return number, full
            if not exactly and len(full) > longest:
                longest, best = len(full), (number, [*full, *keys[len(full) :]])
        return best

    def has_array(self, keys: list[str]) -> bool:
        """Whether it sets an array that the last of the keys is somewhere in.

        Arrays replace those of the files below, so nothing of these is left then.
        """
        return any(
            is_array and len(full) < len(keys) and _fits(full, keys)
            for _, full, is_array in _settings(self.text)
        )


def _fits(full: list[str], keys: list[str]) -> bool:
    return all(want in ("*", name) for want, name in zip(keys, full, strict=False))


def _settings(text: str) -> Iterator[tuple[int, list[str], bool]]:
    """Each line that sets something, the path to it, and whether that is an array.

    Elements of arrays are told by their number.
    """
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
                yield number, _numbered(names, arrays)[:-1], True
            table = _numbered(names, arrays)
            yield number, table, False
        elif key:
            names = tuple(name.strip("\"'") for name in key[1].split("."))
            yield number, [*table, *names], bool(key[2])


def _numbered(names: tuple[str, ...], arrays: dict[tuple[str, ...], int]) -> list[str]:
    """The path to a table, with the number of the present element behind each array."""
    path: list[str] = []
    for length, name in enumerate(names, start=1):
        path.append(name)
        if names[:length] in arrays:
            path.append(str(arrays[names[:length]]))
    return path
