"""PURE: a user's own configuration file, with marked places that a run fills in.

A mark is a comment of its own, such as `# hitless: backends`. What follows on its line belongs to
the mark, such as the options of each server. A mark is replaced by the text for it, indented as the
mark is.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from orchestrator.errors import OrchestratorError

_MARK = re.compile(
    r"^(?P<indent>[ \t]*)#[ \t]*hitless:[ \t]*(?P<name>[a-z]+)[ \t]*(?P<rest>.*?)[ \t]*$"
)


class RouterConfigError(OrchestratorError):
    """A router's configuration cannot be used: the user's mistake, found before a run begins."""


def read(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        RouterConfigError: it is not there, or it is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RouterConfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RouterConfigError(f"{path}: not UTF-8 text (byte {error.start})") from error


def write(path: Path, text: str) -> None:
    """Write a configuration file in one step, so that a router that watches it reads no half."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.rename(path)


def without(text: str, keywords: Collection[str]) -> str:
    """The text with each line that begins with one of the keywords as a comment.

    These are settings that belong to the machine where the file is used, such as its process id.
    """
    begins = re.compile(rf"^[ \t]*(?:{'|'.join(keywords)})\b")
    return "\n".join(
        f"# left to the run: {line}" if begins.match(line) else line for line in text.splitlines()
    )


def marks(text: str) -> dict[str, str]:
    """The marks of a text, each with what follows it on its line."""
    found = (_MARK.match(line) for line in text.splitlines())
    return {mark["name"]: mark["rest"] for mark in found if mark}


def need(path: Path, text: str, places: Mapping[str, str]) -> None:
    """See that each mark is there once, and no other.

    Args:
        path: for the message.
        text: what it holds.
        places: the marks, each with where it belongs, in words.

    Raises:
        RouterConfigError: one is missing, repeated or unknown.
    """
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (mark := _MARK.match(line)):
            continue
        name = mark["name"]
        if name not in places:
            known = ", ".join(places)
            raise RouterConfigError(f"{path}:{number}: unknown mark {name!r}; there are: {known}")
        if name in seen:
            raise RouterConfigError(
                f"{path}:{number}: the mark '# hitless: {name}' is there already, in line "
                f"{seen[name]}"
            )
        seen[name] = number
    for name, where in places.items():
        if name not in seen:
            raise RouterConfigError(
                f"{path}: the line '# hitless: {name}' is missing; it belongs {where}"
            )


def fill(text: str, blocks: Mapping[str, Iterable[str]]) -> str:
    """The text with each mark replaced by its lines."""
    lines: list[str] = []
    for line in text.splitlines():
        mark = _MARK.match(line)
        if mark and mark["name"] in blocks:
            lines += [f"{mark['indent']}{one}" for one in blocks[mark["name"]]]
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


def pointed(words: str, filled: Path, original: Path) -> str:
    """A router's words about the file that it read, with the lines of the user's own file.

    A line that is not the user's keeps its number in the filled file.
    """
    theirs, ours = read(original).splitlines(), read(filled).splitlines()

    def place(found: re.Match[str]) -> str:
        number = int(found["line"])
        line = ours[number - 1].strip() if 0 < number <= len(ours) else ""
        same = [at for at, one in enumerate(theirs, 1) if line and one.strip() == line]
        return f"{original.name}:{same[0]}" if len(same) == 1 else f"{filled.name}:{number}"

    name = rf"(?:{re.escape(str(filled))}|{re.escape(filled.name)})"
    return re.sub(rf"{name}:(?P<line>\d+)", place, words).replace(str(filled), filled.name)
