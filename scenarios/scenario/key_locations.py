"""Which line of which file, or which flag, sets a key of a scenario.

`tomllib` checks a document and gives its values, but not their lines. So the text of a document
that `tomllib` has accepted is scanned once more, for its keys alone.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

KeyPath = tuple[str, ...]
"""The path to a key; an element of an array is told by its number, as text."""

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*(?:([\w-]+)|("(?:\\.|[^"\\\n])*"|'[^'\n]*'))[ \t]*""", re.ASCII)
_SCALAR = re.compile(
    r"""\"{3}(?:\\.|[^\\])*?\"{3}(?!\")|'{3}.*?'{3}(?!')|"""
    r"""\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'|[^,\]}\n#]+""",
    re.DOTALL,
)


class KeyLocation(NamedTuple):
    """Where a key is set.

    Attributes:
        source: how messages name the file, or the flag.
        line: the line of the file; None for a flag.
    """

    source: str
    line: int | None

    def __str__(self) -> str:
        """How messages begin."""
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class KeyLocations:
    """Where the keys of a document are set.

    Attributes:
        source: what to name where nothing sets a key.
        found: the location of each key.
        values: the keys whose values replace what a document below says; tables are merged.
    """

    source: str
    found: Mapping[KeyPath, KeyLocation] = field(default_factory=dict)
    values: frozenset[KeyPath] = frozenset()

    def over(self, below: "KeyLocations") -> "KeyLocations":
        """The locations once this document was merged over another one."""
        kept = {
            keys: at
            for keys, at in below.found.items()
            if not any(keys[:length] in self.values for length in range(1, len(keys) + 1))
        }
        return KeyLocations(self.source, {**kept, **self.found}, below.values | self.values)

    def of(self, keys: KeyPath) -> tuple[KeyLocation | None, KeyPath]:
        """Where a key is set, or what is nearest to it; and the path to the key."""
        if keys in self.found:
            return self.found[keys], keys
        for at in self.found:
            if at[: len(keys)] == keys:
                return self.found[at], keys
        for length in range(len(keys) - 1, 0, -1):
            if keys[:length] in self.found:
                return self.found[keys[:length]], keys
        return None, keys

    def at(self, keys: KeyPath | list[str]) -> str:
        """How a message about a key begins: `file:line: key 'name': `."""
        location, _ = self.of(tuple(keys))
        # The line tells which element of an array is meant.
        shown = ".".join(key for key in keys if not key.isdecimal())
        return f"{location or self.source}: key {shown!r}: "


def file_locations(source: str, text: str) -> KeyLocations:
    """The locations of the keys of a TOML document that `tomllib` has accepted."""
    return _locations(source, text, flag=False)


def flag_locations(source: str, text: str) -> KeyLocations:
    """The same of one `key = value` that a flag sets."""
    return _locations(source, text, flag=True)


def _locations(source: str, text: str, *, flag: bool) -> KeyLocations:
    found: dict[KeyPath, KeyLocation] = {}
    values: set[KeyPath] = set()
    for keys, line, is_table in _Scanner(text).document():
        found.setdefault(keys, KeyLocation(source, None if flag else line))
        if not is_table:
            values.add(keys)
    return KeyLocations(source, found, frozenset(values))


_Found = Iterator[tuple[KeyPath, int, bool]]


class _Scanner:
    """Reads a TOML 1.0 document from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def document(self) -> _Found:
        """Each key that is set: the path to it, its line, and whether it is a table."""
        table: KeyPath = ()
        arrays: dict[KeyPath, int] = {}
        while self._skip_space():
            line = self._line()
            if self._take("[["):
                names = self._keys()
                self._take("]]")
                # A new element has new arrays within it.
                arrays = {old: at for old, at in arrays.items() if old[: len(names)] != names} | {
                    names: arrays.get(names, -1) + 1
                }
                table = _numbered(names, arrays)
                yield table[:-1], line, False
                yield table, line, True
            elif self._take("["):
                table = _numbered(self._keys(), arrays)
                self._take("]")
                yield table, line, True
            else:
                yield from self._pair(table)

    def _pair(self, table: KeyPath) -> _Found:
        line = self._line()
        keys = (*table, *self._keys())
        self._take("=")
        yield from self._value(keys, line)

    def _value(self, keys: KeyPath, line: int) -> _Found:
        self._skip_space()
        if self._take("["):
            yield keys, line, False
            index = 0
            while self._skip_space() and not self._take("]"):
                yield from self._value((*keys, str(index)), self._line())
                index += 1
                self._skip_space()
                self._take(",")
        elif self._take("{"):
            yield keys, line, True
            while self._skip_space() and not self._take("}"):
                yield from self._pair(keys)
                self._skip_space()
                self._take(",")
        else:
            yield keys, line, False
            self._match(_SCALAR)

    def _keys(self) -> KeyPath:
        """A dotted key."""
        names: list[str] = []
        while not names or self._take("."):
            found = self._match(_KEY)
            names.append(found[1] or tomllib.loads(f"key = {found[2]}")["key"])
        return tuple(names)

    def _line(self) -> int:
        return self._text.count("\n", 0, self._at) + 1

    def _skip_space(self) -> bool:
        """Skip what means nothing; returns whether anything is left."""
        self._match(_SPACE)
        return self._at < len(self._text)

    def _take(self, word: str) -> bool:
        if not self._text.startswith(word, self._at):
            return False
        self._at += len(word)
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"line {self._line()}: this is not TOML")
        self._at = found.end()
        return found


def _numbered(names: KeyPath, arrays: Mapping[KeyPath, int]) -> KeyPath:
    """The path to a table, with the number of the present element behind each array."""
    path: list[str] = []
    for length, name in enumerate(names, start=1):
        path.append(name)
        if names[:length] in arrays:
            path.append(str(arrays[names[:length]]))
    return tuple(path)
